"""The log goes to stderr, in the form of the journal or of a terminal."""

import os
import subprocess
import sys
from tempfile import TemporaryFile
from typing import IO

import pytest

from monitor.commands.process import limit_threads

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
