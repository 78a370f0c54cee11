"""Passwords are hashed, in files for their owner alone; trying them takes time."""

from pathlib import Path

import pytest

from monitor.errors import UsageError
from monitor.web.passwords import PasswordFiles, Role
from monitor.web.session import (
    ABSOLUTE_SECONDS,
    ALL_SECONDS,
    ALL_TRIES,
    IDLE_SECONDS,
    KEPT_TRIES,
    MAX_SESSIONS,
    TRIES,
    TRIES_SECONDS,
    Sessions,
    Throttle,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(tmp_path: Path) -> PasswordFiles:
    return PasswordFiles({"owner": tmp_path / "a", "viewer": tmp_path / "b"})


@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_a_password_is_its_roles_and_is_not_in_the_file(
    files: PasswordFiles, tmp_path: Path, role: Role
) -> None:
    assert files.read() is None
    files.write(role, "päss word 1")
    passwords = files.read()
    assert passwords is not None
    assert passwords.role_of("päss word 1") == role
    assert passwords.role_of("päss word 2") is None
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "word" not in path.read_text()


@pytest.mark.parametrize(
    ("first", "second"), [("owner", "viewer"), ("viewer", "owner")]
)
def test_two_roles_never_have_one_password(
    files: PasswordFiles, first: Role, second: Role
) -> None:
    files.write(first, "password 1")
    with pytest.raises(UsageError, match=f"the {first} already"):
        files.write(second, "password 1")
    files.write(first, "password 1")
    files.write(second, "password 2")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257])
def test_a_password_has_a_length(files: PasswordFiles, password: str) -> None:
    with pytest.raises(UsageError, match="characters"):
        files.write("owner", password)


@pytest.mark.parametrize("content", ["", "secret", "scrypt$a", "scrypt$$", "md5$YQ$YQ"])
def test_a_file_of_something_else_is_an_error(
    files: PasswordFiles, tmp_path: Path, content: str
) -> None:
    (tmp_path / "a").write_text(content)
    with pytest.raises(UsageError, match="is not the hash of a password"):
        files.read()


def test_a_session_ends_without_use_and_after_its_longest_time(clock: Clock) -> None:
    sessions = Sessions(clock)
    idle, used = sessions.begin("owner"), sessions.begin("viewer")
    while clock.now + IDLE_SECONDS * 0.9 < ABSOLUTE_SECONDS:
        clock.now += IDLE_SECONDS * 0.9
        session = sessions.get(used)
        assert session is not None
        assert session.role == "viewer"
    assert sessions.get(idle) is None
    clock.now = ABSOLUTE_SECONDS + 1
    assert sessions.get(used) is None


def test_of_too_many_sessions_the_least_used_of_the_role_ends(clock: Clock) -> None:
    sessions = Sessions(clock)
    first, second = sessions.begin("owner"), sessions.begin("owner")
    viewers = [sessions.begin("viewer") for _ in range(2 * MAX_SESSIONS)]
    sessions.get(first)
    assert sum(sessions.get(each) is not None for each in viewers) == MAX_SESSIONS
    for _ in range(MAX_SESSIONS - 1):
        sessions.begin("owner")
    assert sessions.get(first) is not None
    assert sessions.get(second) is None


def test_an_address_waits_after_its_failures_and_others_do_not(clock: Clock) -> None:
    throttle = Throttle(clock)
    for host in range(TRIES):
        assert throttle.attempt(f"2001:db8::{host}") == 0
    assert throttle.attempt("2001:db8::ffff") == TRIES_SECONDS
    assert throttle.attempt("2001:db8:1::1") == 0
    clock.now += TRIES_SECONDS
    assert throttle.attempt("2001:db8::1") == 0


@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_a_right_password_counts_for_none_and_forgets_no_wrong_one(
    clock: Clock, role: Role
) -> None:
    throttle = Throttle(clock)
    for _ in range(TRIES):
        assert throttle.attempt("192.0.2.1") == 0
        throttle.succeeded("192.0.2.1", role)
        assert throttle.attempt("192.0.2.1") == 0
    assert throttle.attempt("192.0.2.1") == TRIES_SECONDS


def test_right_passwords_of_the_owner_leave_the_others_theirs(clock: Clock) -> None:
    throttle = Throttle(clock)
    for host in range(2 * ALL_TRIES):
        assert throttle.attempt(f"192.0.2.{host}") == 0
        throttle.succeeded(f"192.0.2.{host}", "owner")


def test_all_addresses_together_have_a_limit_and_the_owners_one_more(
    clock: Clock,
) -> None:
    throttle = Throttle(clock)
    assert throttle.attempt("198.51.100.1") == 0
    throttle.succeeded("198.51.100.1", "owner")
    most = ALL_TRIES - KEPT_TRIES
    waits = [throttle.attempt(f"192.0.2.{host}") for host in range(most + 1)]
    assert waits == [0] * most + [ALL_SECONDS]
    assert throttle.attempt("198.51.100.1") == 0
    throttle.succeeded("198.51.100.1", "owner")
    assert throttle.attempt("192.0.2.200") == ALL_SECONDS
    clock.now += ALL_SECONDS
    assert throttle.attempt("192.0.2.200") == 0


def test_addresses_of_ipv4_are_told_apart_by_a_listener_of_both(clock: Clock) -> None:
    throttle = Throttle(clock)
    waits = [throttle.attempt("::ffff:192.0.2.1") for _ in range(TRIES + 1)]
    assert waits[-1] == throttle.attempt("192.0.2.1") == TRIES_SECONDS
    assert throttle.attempt("::ffff:192.0.2.2") == throttle.attempt("::1") == 0
