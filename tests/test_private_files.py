"""Files are for their owner only, also those that were there before."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.private_files import (
    make_private,
    open_private,
    read_regular,
    restrict_folder,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened(path: Path) -> None:
    os.close(open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT))


@pytest.mark.parametrize("use", [opened, make_private])
def test_a_file_that_others_can_read_is_restricted_once(
    use: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    path.chmod(0o644)
    use(path)
    use(path)
    assert mode(path) == 0o600
    assert caplog.text.count("was open to other users") == 1


@pytest.mark.parametrize("use", [opened, make_private])
@pytest.mark.parametrize("target", ["file", "missing"])
def test_a_symbolic_link_is_not_followed(
    use: Callable[[Path], None], target: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch(0o644)
    before = mode(tmp_path / "file")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(OSError, match="symbolic link"):
        use(link)
    assert mode(tmp_path / "file") == before
    assert not (tmp_path / "missing").exists()


def test_a_missing_file_is_created_for_its_owner_only(tmp_path: Path) -> None:
    make_private(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    opened(tmp_path / "new")
    assert mode(tmp_path / "new") == 0o600


def test_a_device_keeps_its_mode() -> None:
    before = mode(Path(os.devnull))
    opened(Path(os.devnull))
    assert mode(Path(os.devnull)) == before


def test_only_a_small_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(b"1234")
    assert read_regular(path, 4) == b"1234"
    with pytest.raises(OSError, match="longer than 3 bytes"):
        read_regular(path, 3)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(path, 4)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "state" / "facts.json"
    write_private(path, "one")
    path.chmod(0o644)
    write_private(path, "two")
    assert path.read_text() == "two"
    assert mode(path) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["facts.json"]


@pytest.mark.parametrize(
    ("given", "after"),
    [
        (0o700, 0o700),
        (0o755, 0o755),
        (0o770, 0o770),
        (0o1777, 0o1777),  # as /tmp: files are safe from other users
        (0o777, 0o770),
        (0o702, 0o700),
    ],
)
def test_a_folder_that_everybody_may_write_into_is_closed(
    given: int, after: int, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    assert restrict_folder(folder) is None
    folder.mkdir()
    folder.chmod(given)
    assert restrict_folder(folder, is_trial=True) is None
    assert mode(folder) == given
    assert restrict_folder(folder) is None
    assert mode(folder) == after


@pytest.mark.parametrize("is_trial", [True, False])
def test_such_a_folder_of_another_user_is_refused(
    is_trial: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    problem = restrict_folder(tmp_path, is_trial=is_trial)
    assert problem is not None
    assert str(tmp_path) in problem
    assert mode(tmp_path) == 0o777
