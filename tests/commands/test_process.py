"""The log goes to stderr; tables and lines are whole and free of control characters."""

import os
import subprocess
import sys
from tempfile import TemporaryFile
from typing import IO

import pytest

from monitor.commands.process import (
    limit_threads,
    print_json,
    print_line,
    print_table,
)

SCRIPT = """
import logging
from monitor.commands.process import log_to_stderr
log_to_stderr()
logging.getLogger("monitor.audio").info("opened %s", "street")
logging.getLogger("monitor.audio").debug("hidden")
logging.getLogger("somebody.else").info("hidden")
logging.getLogger("monitor").warning("two\\nlines")
logging.getLogger("monitor").error("broken")
logging.getLogger("monitor").error("said \\x1b[2J\\r\\u202e of itself")
"""


def log_lines(stderr: IO[bytes], environ: dict[str, str]) -> list[str]:
    subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ, stderr=stderr, check=True
    )
    stderr.seek(0)
    return stderr.read().decode().splitlines()


@pytest.mark.parametrize("environ", [{}, {"JOURNAL_STREAM": "1:2"}])
def test_the_log_shows_time_level_and_sentence(environ: dict[str, str]) -> None:
    with TemporaryFile() as stderr:
        lines = log_lines(stderr, environ)
    assert [line.split(" ", 1)[-1] for line in lines] == [
        "INFO opened street",
        "WARNING two",
        " lines",
        "ERROR broken",
        "ERROR said ?[2J",
        " ? of itself",
    ]


def test_the_journal_gets_a_priority_on_every_line() -> None:
    with TemporaryFile() as stderr:
        place = os.fstat(stderr.fileno())
        stream = f"{place.st_dev}:{place.st_ino}"
        lines = log_lines(stderr, {"JOURNAL_STREAM": stream})
    assert lines == [
        "<6>opened street",
        "<4>two",
        "<4>  lines",
        "<3>broken",
        "<3>said ?[2J",
        "<3>  ? of itself",
    ]


def test_the_numeric_libraries_get_the_threads_that_are_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    limit_threads(2)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    limit_threads(1)


def test_a_table_in_a_pipe_is_aligned_and_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "x" * 300
    print_table(("NAME", "ID"), [("a[bold]b", "1"), (long, "22")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ID"]
    assert lines[1].split() == ["a[bold]b", "1"]  # no markup
    assert lines[2].split() == [long, "22"]
    assert lines[1].index("1") == lines[2].index("22")


def test_control_characters_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line("a\x1b[2Jb")
    print_table(("NAME",), [("a\x1b[2Jb",)])
    assert "\x1b" not in capsys.readouterr().out


def test_a_number_outside_json_is_a_bug() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        print_json({"level": float("nan")})
