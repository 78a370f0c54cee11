"""Where the private socket is."""

from pathlib import Path

from monitor.sinks.status_socket import SERVICE_SOCKET, own_place, places_to_ask

STATE = Path("/var/lib/sound-monitor")


def test_a_service_has_it_in_its_runtime_folder() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/sound-monitor:/run/more"}
    assert own_place(None, STATE, environ) == SERVICE_SOCKET


def test_monitors_of_one_user_have_places_of_their_own(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    places = {own_place(None, state, environ) for state in (STATE, tmp_path)}
    assert len(places) == 2
    assert {place.parent for place in places} == {tmp_path / "sound-monitor"}


def test_without_a_runtime_folder_it_is_where_the_monitor_writes() -> None:
    environ = {"XDG_RUNTIME_DIR": "/there/is/none"}
    assert own_place(None, STATE, environ) == STATE / "status.sock"


def test_the_configuration_may_name_it(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/x", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert own_place("my.sock", STATE, environ) == STATE / "my.sock"
    assert own_place("/srv/my.sock", STATE, environ) == Path("/srv/my.sock")
    assert places_to_ask("my.sock", STATE, environ) == [STATE / "my.sock"]


def test_it_is_found_by_who_has_other_variables(tmp_path: Path) -> None:
    session = {"XDG_RUNTIME_DIR": str(tmp_path)}
    for environ in ({}, session, {"RUNTIME_DIRECTORY": str(SERVICE_SOCKET.parent)}):
        assert own_place(None, STATE, environ) in places_to_ask(None, STATE, session)
