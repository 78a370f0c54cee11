"""A disk that is full for one process, or in one folder, and for nobody else."""

import subprocess
import sys
from pathlib import Path

import pytest

from monitor.runtime.drills.full_disk import FileLimit, Tmpfs, small_disk

WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "ab") as file:
            file.write(bytes(4096))
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


@pytest.mark.parametrize("by_limit", [False, True])
def test_nothing_can_be_written_until_there_is_room_again(
    tmp_path: Path, by_limit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_limit:  # as for anybody but root
        monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "state"
    folder.mkdir()
    with small_disk(folder) as disk:
        assert isinstance(disk, FileLimit if by_limit else (Tmpfs, FileLimit))
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder / "file")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None

            def tries() -> str:
                writer.stdin.write("\n")
                writer.stdin.flush()
                return writer.stdout.readline().strip()

            assert tries() == "written"
            disk.fill(writer.pid)
            assert tries() in ("No space left on device", "File too large")
            disk.clear(writer.pid)
            assert tries() == "written"
            writer.stdin.close()
    (folder / "after").write_bytes(bytes(4096))
