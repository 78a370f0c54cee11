import os
import resource
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sinks.event_log import LineFile

LIMIT = 100


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Have the kernel refuse to let files grow beyond `size`, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def file_at(folder: Path, keep: int = 3, limit: int = LIMIT) -> LineFile:
    return LineFile(folder / "log", limit, keep)


def append(file: LineFile, *lines: bytes) -> None:
    held = deque(lines)
    file.append(held)
    assert not held


def content(folder: Path, keep: int) -> bytes:
    """Everything, from the oldest file to the newest."""
    names = [f"log.{number}" for number in range(keep, 0, -1)] + ["log"]
    return b"".join(
        (folder / name).read_bytes() for name in names if (folder / name).exists()
    )


def test_folder_and_file_are_created_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    previous = os.umask(0)
    try:
        append(file_at(folder), b"line\n")
    finally:
        os.umask(previous)
    assert (folder / "log").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_files_that_others_could_read_are_restricted(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("log", "log.1", "log.2")]
    for file in files:
        file.touch()
        file.chmod(0o644)
    append(file_at(tmp_path), b"line\n")
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_symbolic_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        append(file_at(tmp_path), b"line\n")
    assert (tmp_path / "victim").read_bytes() == b""


def test_lines_are_appended_to_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"old\n")
    append(file_at(tmp_path), b"new\n")
    assert (tmp_path / "log").read_bytes() == b"old\nnew\n"


def test_a_torn_last_line_is_ended_when_the_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"whole\nto")
    file = file_at(tmp_path)
    file.open()
    assert (tmp_path / "log").read_bytes() == b"whole\nto\n"
    append(file, b"new\n")
    assert (tmp_path / "log").read_bytes() == b"whole\nto\nnew\n"


def test_a_whole_last_line_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"whole\n")
    file_at(tmp_path).open()
    assert (tmp_path / "log").read_bytes() == b"whole\n"


@pytest.mark.parametrize("what", ["moved", "deleted"])
def test_a_file_that_was_moved_or_deleted_is_created_again(
    tmp_path: Path, what: str
) -> None:
    file = file_at(tmp_path)
    append(file, b"one\n")
    if what == "moved":
        (tmp_path / "log").rename(tmp_path / "log.1")
    else:
        (tmp_path / "log").unlink()
    append(file, b"two\n")
    assert (tmp_path / "log").read_bytes() == b"two\n"


def test_a_deleted_folder_is_created_again(tmp_path: Path) -> None:
    file = file_at(tmp_path / "folder")
    append(file, b"one\n")
    (tmp_path / "folder" / "log").unlink()
    (tmp_path / "folder").rmdir()
    append(file, b"two\n")
    assert (tmp_path / "folder" / "log").read_bytes() == b"two\n"


def test_a_file_truncated_by_others_continues_at_its_new_end(tmp_path: Path) -> None:
    file = file_at(tmp_path)
    append(file, *[b"one\n"] * 10)
    os.truncate(tmp_path / "log", 0)
    append(file, b"two\n")
    assert (tmp_path / "log").read_bytes() == b"two\n"


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, LIMIT), max_size=8), max_size=12),
    keep=st.integers(0, 4),
)
def test_rotation_neither_loses_nor_doubles_a_line(
    sizes: list[list[int]], keep: int
) -> None:
    """The kept files hold the newest lines, in order, each file within its limit."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        file = file_at(folder, keep)
        numbers = iter(range(10_000))
        everything = b""
        for batch in sizes:
            lines = [b"%d" % (next(numbers) % 10) * (n - 1) + b"\n" for n in batch]
            append(file, *lines)
            everything += b"".join(lines)
        file.close()
        kept = content(folder, keep)
        files = sorted(folder.iterdir())
        assert everything.endswith(kept)
        assert all(path.stat().st_size <= LIMIT for path in files)
        assert {path.name for path in files} <= {
            "log",
            *(f"log.{number}" for number in range(1, keep + 1)),
        }
        if len(files) <= keep:
            assert kept == everything


def test_a_line_longer_than_the_limit_gets_a_file_of_its_own(tmp_path: Path) -> None:
    file = file_at(tmp_path)
    long = b"x" * (2 * LIMIT) + b"\n"
    append(file, b"one\n", long, b"two\n")
    assert (tmp_path / "log.2").read_bytes() == b"one\n"
    assert (tmp_path / "log.1").read_bytes() == long
    assert (tmp_path / "log").read_bytes() == b"two\n"


def test_an_interrupted_rotation_costs_no_file(tmp_path: Path) -> None:
    """The first free number, left by the crash, takes the next file."""
    (tmp_path / "log").write_bytes(b"x" * (LIMIT - 1) + b"\n")
    (tmp_path / "log.2").write_bytes(b"two\n")
    (tmp_path / "log.3").write_bytes(b"three\n")
    append(file_at(tmp_path), b"new\n")
    assert (tmp_path / "log.1").stat().st_size == LIMIT
    assert (tmp_path / "log.2").read_bytes() == b"two\n"
    assert (tmp_path / "log.3").read_bytes() == b"three\n"


def test_when_rotation_fails_lines_are_appended_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.1").mkdir()
    file = file_at(tmp_path, keep=1)
    for _ in range(4):
        append(file, b"x" * 49 + b"\n")
    assert (tmp_path / "log").stat().st_size == 200
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_full_device_leaves_the_lines_with_the_caller() -> None:
    file = LineFile(Path("/dev/full"), LIMIT, 1)
    lines = deque([b"one\n", b"two\n"])
    with pytest.raises(OSError, match="No space left"):
        file.append(lines)
    assert list(lines) == [b"one\n", b"two\n"]
    file.close()


def test_a_write_that_was_cut_off_leaves_whole_lines(tmp_path: Path) -> None:
    """The disk is full in the middle of line 10 of 20; all are written later."""
    file = file_at(tmp_path, limit=1000)
    every = [b"line %02d\n" % number for number in range(20)]
    lines = deque(every)
    with no_file_beyond(85), pytest.raises(OSError, match="File too large"):
        file.append(lines)
    assert (tmp_path / "log").read_bytes() == b"".join(every[:10])
    assert list(lines) == every[10:]
    append(file, *lines)
    assert (tmp_path / "log").read_bytes() == b"".join(every)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.lists(st.integers(1, 40), max_size=6), st.integers(0, 120)),
        max_size=10,
    )
)
def test_a_disk_that_is_full_now_and_then_costs_no_line(
    steps: list[tuple[list[int], int]],
) -> None:
    """At any moment there are whole lines; in the end each line is there once."""
    keep = 50
    with TemporaryDirectory() as name:
        folder = Path(name)
        file = file_at(folder, keep)
        waiting: deque[bytes] = deque()
        everything = b""
        for sizes, room in steps:
            lines = [b"%d" % (n % 10) * (n - 1) + b"\n" for n in sizes]
            waiting.extend(lines)
            everything += b"".join(lines)
            with no_file_beyond(room), suppress(OSError):
                file.append(waiting)
            assert content(folder, keep) + b"".join(waiting) == everything
        append(file, *waiting)
        file.close()
        assert content(folder, keep) == everything


def test_a_batch_is_one_write(tmp_path: Path) -> None:
    """A reader never sees a part of it, however often it looks."""
    counter = tmp_path / "counted"
    code = (
        "import os, sys\n"
        "from collections import deque\n"
        "from pathlib import Path\n"
        "from monitor.sinks.event_log import LineFile\n"
        "file = LineFile(Path(sys.argv[1]), 10**6, 1)\n"
        "file.open()\n"
        "before = Path('/proc/self/io').read_text()\n"
        "file.append(deque([b'line\\n'] * 50))\n"
        "after = Path('/proc/self/io').read_text()\n"
        "calls = [int(text.split('syscw: ')[1].split()[0]) "
        "for text in (before, after)]\n"
        "print(calls[1] - calls[0])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(counter)],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert result.stdout == "1\n"


def test_a_pipe_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="pipe"):
        file_at(tmp_path).open()
