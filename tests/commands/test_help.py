"""The help of every command fits the terminal, and its examples can be typed."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from monitor.commands.app import build_app, run_command_line
from tests.support import ROOT as FOLDER


def commands(
    group: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ROOT = get_command(build_app())
COMMANDS = dict(commands(ROOT))


def help_of(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], columns: int
) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        assert run_command_line([*path, "--help"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_too_long_or_cut(
    path: tuple[str, ...], columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = help_of(path, capsys, columns)
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines[1:] if line.endswith("...")] == []
    assert not any("\b" in line or "\\b" in line for line in lines)


def test_the_commands_are_in_sections(capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_of((), capsys, 80)
    titles = [line for line in lines if re.fullmatch(r"[A-Z]\w+:", line)]
    assert titles == [
        "Options:",
        "Daemon:",
        "History:",
        "Recordings:",
        "Models:",
        "Fleet:",
    ]


def test_arguments_are_shown_by_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = help_of(("analyze",), capsys, 80)
    assert lines[0] == "Usage: sound-monitor analyze [OPTIONS] FILE..."
    assert "  FILE  One or more recordings.  [required]" in lines


def test_the_words_of_the_command_for_the_shipped_model_are_described(
    capsys: pytest.CaptureFixture[str],
) -> None:
    described = {line.split()[0] for line in help_of(("train",), capsys, 80) if line}
    page = (FOLDER / "docs" / "accuracy.md").read_text(encoding="utf-8")
    words = set(
        re.findall(r"(?<= )[A-Z][A-Z0-9_]{3,}(?= )", page.partition("```sh")[2])
    )
    assert words == {
        *("DATA", "NEGATIVES", "PLACES", "ESC50_TARGETS", "TEACHER"),
    }
    assert words <= described


def examples() -> Iterator[str]:
    for command in COMMANDS.values():
        text = (command.help or "").replace("\\\n", " ")
        for line in re.findall(
            r"^ *(?:sudo \S*)?sound-monitor (.*)", text, re.MULTILINE
        ):
            # An explanation stands two spaces behind, and a redirection is the shell's.
            yield re.sub(r"( {2,}(?![- ])| > ).*", "", line)


@pytest.mark.parametrize("line", list(examples()))
def test_an_example_is_valid_usage(line: str) -> None:
    words, command, path = shlex.split(line), ROOT, ()
    while words and (*path, words[0]) in COMMANDS:
        path = (*path, words.pop(0))
        command = COMMANDS[path]
    assert path
    assert command.make_context(path[-1], words).params is not None
