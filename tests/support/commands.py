"""Running the commands in this process."""

import pytest

from monitor.commands.app import run_command_line


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must succeed; return what it prints."""
    assert run_command_line([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run a command; return its exit code and what it prints on stderr."""
    code = run_command_line([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


def lines_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Run a command that must succeed; return the lines that it prints."""
    return run(capsys, *arguments).splitlines()
