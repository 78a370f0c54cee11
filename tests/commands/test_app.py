"""A command ends with an exit code and one sentence about its failure."""

import errno
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from monitor import __version__
from monitor.commands.app import run_command_line
from monitor.errors import (
    ConfigError,
    ModelFileError,
    SoundMonitorError,
    UsageError,
)

CONSOLE_SCRIPT = [sys.executable, "-m", "monitor"]

failing = typer.Typer()


@failing.command()
def expected() -> None:
    raise SoundMonitorError("the disk is full")


@failing.command()
def misconfigured() -> None:
    raise ConfigError("a: is wrong\nb: is wrong")


@failing.command()
def interrupted() -> None:
    raise KeyboardInterrupt


@failing.command()
def code(number: int) -> int:
    return number


@failing.command()
def short(kind: int) -> None:
    raise (
        MemoryError("Unable to allocate 385 KiB"),
        RuntimeError("can't start new thread"),
        ModelFileError("urban: its graph cannot be used (std::bad_alloc)"),
        ImportError("Please note\nnumpy.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        UsageError("--model: bad_alloc.onnx is not there"),
        MemoryError(),
    )[kind]


@failing.command()
def chatter() -> None:
    for _ in range(100_000):
        typer.echo("a line")


@failing.command()
def bug() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("arguments", "exit_code", "stderr"),
    [
        (["expected"], 1, "sound-monitor: the disk is full\n"),
        (
            ["misconfigured"],
            2,
            "sound-monitor: a: is wrong\nsound-monitor: b: is wrong\n",
        ),
        (["interrupted"], 130, ""),
        (["code", "3"], 3, ""),
        (["code", "0"], 0, ""),
        (["code", "x"], 2, "sound-monitor: Invalid value for 'number'"),
        (["code"], 2, "sound-monitor: Missing argument 'number'"),
        (["nothing"], 2, "sound-monitor: No such command 'nothing'"),
        (["code", "3", "--loud"], 2, "sound-monitor: No such option: --loud"),
    ],
)
def test_a_command_ends_with_an_exit_code_and_a_sentence(
    arguments: list[str],
    exit_code: int,
    stderr: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(arguments, failing) == exit_code
    message = capsys.readouterr().err
    assert message.startswith(stderr)
    assert bool(message) == bool(stderr)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (0, "not enough memory (Unable to allocate 385 KiB); allow more"),
        (1, "no thread can be started: allow more memory"),
        (2, "not enough memory (urban: its graph cannot be used (std::bad_alloc))"),
        (3, "not enough memory (numpy.so: failed to map segment from shared object)"),
        (4, "not enough memory ([Errno 12] Cannot allocate memory); allow more"),
        (6, "not enough memory; allow more"),
    ],
)
def test_too_little_memory_is_one_sentence_wherever_it_shows(
    kind: int,
    cause: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert run_command_line(["short", str(kind)], failing) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"sound-monitor: {cause}")
    assert message.count("\n") == 1
    assert "in short" in caplog.text  # where it came from


def test_a_users_words_are_not_taken_for_too_little_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(["short", "5"], failing) == 2
    message = capsys.readouterr().err
    assert message == "sound-monitor: --model: bad_alloc.onnx is not there\n"


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command_line(["bug"], failing)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--version"]) == 0
    assert capsys.readouterr().out == f"sound-monitor {__version__}\n"


@pytest.mark.parametrize("group", [[], ["alerts"]], ids=str)
def test_without_a_command_the_help_is_shown_as_wrong_usage(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line([*group, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert run_command_line(group) == 2
    assert capsys.readouterr() == (help_text, "")


def test_a_missing_choice_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["drill"]) == 2
    assert capsys.readouterr().err == (
        "sound-monitor: Missing argument 'DRILL'. Choose from: all, unplug, overrun, "
        "disk, webhook, crash, terminal, clock, page, readonly\n"
    )


def test_a_reader_that_ends_early_causes_no_message() -> None:
    script = (
        "import sys; from tests.commands.test_app import failing, run_command_line;"
        "sys.exit(run_command_line(['chatter'], failing))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_the_exit_code_is_right_with_closed_streams(
    closed: str, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.yaml")
    for arguments, code in ((["--version"], 0), (["check", "--config", missing], 2)):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
        result = subprocess.run(
            [*shell, *CONSOLE_SCRIPT, *arguments], capture_output=True, check=False
        )
        assert result.returncode == code
        assert b"Traceback" not in result.stderr


def test_characters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    config = tmp_path / "straße.yaml"
    config.write_text("sources: [{name: a, input: 'demo:'}]\n")
    result = subprocess.run(
        [*CONSOLE_SCRIPT, "check", "--config", str(config)],
        env={"PYTHONIOENCODING": "ascii", "HOME": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert b"stra\\xdfe.yaml" in result.stdout


def test_output_to_a_full_device_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "monitor", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.decode() == (
        "sound-monitor: the output cannot be written: No space left on device\n"
    )
