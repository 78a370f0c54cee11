"""A full disk for one process or one folder only."""

import subprocess
import sys
from pathlib import Path

import pytest

from monitor.runtime.drills.full_disk import TMPFS_MIB, small_disk

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
def test_nothing_can_be_written_until_there_is_space_again(
    tmp_path: Path, by_limit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_limit:  # as for anybody but root
        monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "state"
    folder.mkdir()
    with small_disk(folder) as disk:
        assert not by_limit or f"{TMPFS_MIB} MiB" not in disk.means
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
