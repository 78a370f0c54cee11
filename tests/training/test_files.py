import errno
import multiprocessing
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from monitor.errors import UsageError
from training.files import locked_folder, make_folder, replace_text

SPAWN = multiprocessing.get_context("spawn")


class EnoughError(Exception):
    """The test has waited long enough."""


def busy(folder: Path, inside: Event, leave: Event) -> None:
    with locked_folder(folder, lambda: None):
        inside.set()
        leave.wait()


def give_up() -> None:
    raise EnoughError


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    inside, leave = SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=busy, args=(tmp_path / "made", inside, leave))
    other.start()
    assert inside.wait(60)
    asked = []

    def wait() -> None:
        asked.append(time.monotonic())
        if len(asked) == 2:
            leave.set()

    with locked_folder(tmp_path / "made", wait):
        assert len(asked) >= 2
    other.join(60)
    assert other.exitcode == 0


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    inside, leave = SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=busy, args=(tmp_path, inside, leave))
    other.start()
    assert inside.wait(60)
    with pytest.raises(EnoughError), locked_folder(tmp_path, give_up):
        pass
    other.kill()
    other.join(60)
    with locked_folder(tmp_path, give_up):
        pass


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked_folder(tmp_path, give_up):
        pass
    assert "No locks available" in caplog.text


def test_a_text_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    replace_text(path, "old")
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", "--cache")
    assert not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "c", Path("/proc/c")):
        with pytest.raises(UsageError, match=r"--cache: the folder .* cannot be"):
            make_folder(folder, "--cache")
