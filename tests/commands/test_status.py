"""`status` with a monitor in this process, and without one."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.commands.configuration_file import text_digest
from monitor.commands.status import print_status
from monitor.sinks.status_client import no_answer, query_status
from monitor.sinks.status_snapshot import Reload, Watchdog
from monitor.sinks.status_socket import StatusSocket
from monitor.statistics import CanaryResult, Levels, Listened, Loss, Trouble
from tests.support.clock import wait_until
from tests.support.status import MODEL, FakeMonitor
from tests.support.timed import samples


@pytest.fixture
def running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FakeMonitor, StatusSocket]]:
    """A monitor that answers in its state folder."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monitor = FakeMonitor(tmp_path)
    sink = StatusSocket(monitor.tracker, tmp_path / "status.sock")
    sink.report(monitor.report())
    wait_until(lambda: query_status([tmp_path / "status.sock"])["running"])
    yield monitor, sink
    sink.close()


def test_the_exit_code_is_0_while_it_listens(
    running: tuple[FakeMonitor, StatusSocket], capsys: pytest.CaptureFixture[str]
) -> None:
    monitor, _ = running
    assert run_command_line(["status"]) == 0
    assert capsys.readouterr().out.startswith("listening to street\n")
    monitor.clock.advance(60)
    assert run_command_line(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["listening"] is False


def test_a_share_of_less_than_a_day_says_of_how_much(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monitor = FakeMonitor(tmp_path)
    (street,) = monitor.report().sources
    for seconds, cell in ((12.0, "99.00 % of 12.0 s"), (86_400.0, "99.00 % ")):
        listened = Listened(seconds, 0.99)
        monitor.report(sources=(replace(street, listened_day=listened),))
        print_status(monitor.snapshot)
        printed = capsys.readouterr().out
        assert cell in printed
        assert (" of 12.0 s" in printed) == (seconds == 12.0)


def test_the_address_of_the_page_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monitor = FakeMonitor(tmp_path)
    monitor.report()
    monitor.daemon.page = "http://127.0.0.1:8480"
    print_status(monitor.snapshot)
    assert "web page: http://127.0.0.1:8480\n" in capsys.readouterr().out


def test_without_a_monitor_it_fails_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "none"))
    config = tmp_path / "config.yaml"
    config.touch()
    assert run_command_line(["status", "--config", str(config)]) == 1
    sentence = f"the monitor is not running: there is no {tmp_path}/none/status.sock\n"
    assert capsys.readouterr() == (sentence, "")


def test_the_monitor_is_found_despite_a_broken_configuration(
    running: tuple[FakeMonitor, StatusSocket],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: {threads: 0}\n")
    arguments = ["status", "--config", str(config)]
    assert run_command_line(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("listening to street\n")
    assert "model.threads: 0 must be at least 1" in err
    running[1].close()
    assert run_command_line(arguments) == 2
    assert capsys.readouterr().out == ""


def test_a_file_that_the_monitor_has_read_is_not_validated_again(
    running: tuple[FakeMonitor, StatusSocket],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon, config = running[0].daemon, tmp_path / "config.yaml"
    # It could not have read it: what is printed shows whether it was validated.
    config.write_text("model: {threads: 0}\n")

    def faults() -> str:
        assert run_command_line(["status", "--config", str(config)]) == 0
        return capsys.readouterr().err

    daemon.configuration = str(config)
    assert "model.threads" in faults()
    daemon.configuration_digest = text_digest("model: {threads: 0}\n")
    assert faults() == ""
    daemon.reload = Reload(datetime(2101, 1, 1, tzinfo=UTC), True, "")
    # Edited while the file was read, or put in place with an older time.
    config.write_text("model: {threads: -1}\n")
    os.utime(config, (0, 0))
    assert "model.threads" in faults()
    config.write_text("model: {threads: 0}\n")
    daemon.configuration = str(tmp_path / "another.yaml")
    assert "model.threads" in faults()


def test_the_monitor_is_found_where_a_broken_configuration_says(
    running: tuple[FakeMonitor, StatusSocket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    config = tmp_path / "config.yaml"
    for place in (
        f"state_dir: {tmp_path}\n",
        f"status: {{socket: {tmp_path}/status.sock}}\n",
    ):
        config.write_text(place + "model: {threads: 0}\n")
        assert run_command_line(["status", "--config", str(config)]) == 0
    config.write_text("state_dir: 5\nmodel: {threads: 0}\n")
    assert run_command_line(["status", "--config", str(config)]) == 2


def test_the_configuration_may_name_the_socket(
    running: tuple[FakeMonitor, StatusSocket],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("status: {socket: other.sock}\n")
    assert run_command_line(["status", "--config", str(config)]) == 1
    config.write_text(
        "state_dir: /none\n" + f"status: {{socket: {tmp_path}/status.sock}}"
    )
    assert run_command_line(["status", "--config", str(config)]) == 0


def test_everything_is_printed_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = FakeMonitor(tmp_path)
    statistics = monitor.report("street", "yard")
    street, yard = statistics.sources
    street = replace(
        street,
        lost_samples=samples(12),
        gaps=3,
        last_sample=monitor.clock.utc(),
        listened=Listened(100_000.0, 0.99988),
        listened_day=Listened(86_400.0, 1.0),
        losses=(
            Loss("unplugged", 1, samples(10)),
            Loss("overrun", 2, samples(2)),
            Loss("stalled", 0, samples(1)),
        ),
        level=Levels(-40.0, 44.5),
        noise_floor=Levels(-60.0, 24.5),
        events=(("dog_bark", 1), ("siren", 3)),
    )
    yard = replace(yard, state="waiting", detail="microphone 'USB' is not there")
    trouble = Trouble("street", "clipping", monitor.clock.utc(), "turn the gain down")
    monitor.tracker.report(
        replace(
            statistics,
            sources=(street, yard),
            queues=(("clips", 2), ("mqtt-states", 0)),
            troubles=(trouble, replace(trouble, source="*", kind="disk", detail="")),
            model=replace(MODEL, failed_compute_device="cuda"),
        )
    )
    monitor.daemon.watchdog = Watchdog(30.0, monitor.clock.monotonic())
    monitor.daemon.reload = Reload(monitor.clock.utc(), False, "threads: 0")
    monitor.clock.advance(3)
    print_status(monitor.snapshot)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "not listening to yard (waiting: microphone 'USB' is not there); trouble: "
        "clipping at street, disk"
    )
    assert "process 4711" in lines[1]
    row = (
        "street listening 3.0 s ago 99.98 % 100 % 12.0 s 3 0.0 s -40.0 44.5 -60.0 24.5"
    )
    assert " ".join(lines[4].split()) == row
    assert lines[5].split()[:4] == ["yard", "waiting", "-", "-"]
    for line in (
        "street: lost 10.0 s in 1 gap: the source was gone",
        "street: lost 2.0 s in 2 gaps: analysis was too slow",
        "street: lost 1.0 s: the source delivered nothing",
        "street: events: dog_bark 1, siren 3",
        "street: trouble: clipping for 3.0 s: turn the gain down",
        "trouble: disk for 3.0 s",
        "latency: 0.12 s, 95 % under 0.18 s; real-time factor 0.021",
        "queues: clips 2",
        "model: urban, 10 labels, on cpu; cuda failed",
        "watchdog: reset 3.0 s ago; it ends the monitor after 30.0 s",
    ):
        assert line in lines
    assert lines[-1].startswith("reload: rejected at 2026-03-01")


def test_the_newest_canary_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = FakeMonitor(tmp_path)
    at = monitor.clock.utc()
    detected = CanaryResult("yard", at, True, "", "siren", 0.97654, 5.04)
    why = "siren scored 0.02 at the most"
    for canary, line in (
        (detected, "passed 1.0 s ago (siren, score 0.98)"),
        (replace(detected, ok=False, detail=why), f"failed 1.0 s ago: {why}"),
        (
            replace(detected, label=None, score=None),
            "passed 1.0 s ago (golden vector)",
        ),
    ):
        monitor.report("street", "yard", canary=(replace(canary, at=at),))
        at = monitor.clock.utc()
        print_status(monitor.snapshot)
        lines = capsys.readouterr().out.splitlines()
        assert [each for each in lines if "self-test:" in each] == [
            f"yard: self-test: {line}"
        ]


def test_no_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(no_answer("it hangs", running=True))
    assert capsys.readouterr().out == "it hangs\n"


def test_an_older_monitor_is_shown_as_far_as_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an upgrade without a restart, it lacks what newer ones say."""
    monitor = FakeMonitor(tmp_path)
    monitor.report("street")
    older = {key: it for key, it in monitor.snapshot.items() if key != "since"}
    print_status(older)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [older["sentence"], lines[-1]]
    assert "another version" in lines[-1]
