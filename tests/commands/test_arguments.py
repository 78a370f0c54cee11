"""Times, days and the database as users choose them."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperOption

from monitor.commands.app import run_command_line
from monitor.commands.arguments import parse_day, parse_time
from monitor.commands.process import Command
from monitor.errors import UsageError
from tests.support.commands import fails

NOW = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("1h", NOW - timedelta(hours=1)),
        ("1.5 h", NOW - timedelta(minutes=90)),
        ("2d", NOW - timedelta(days=2)),
        ("1w", NOW - timedelta(days=7)),
        ("2026-11-23T07:30", datetime(2026, 11, 23, 6, 30, tzinfo=UTC)),
        ("2026-07-01 12:00:30", datetime(2026, 7, 1, 10, 0, 30, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 22, 23, tzinfo=UTC)),
        ("2026-11-23T07:30:00Z", NOW),
        ("2026-11-23T07:30+05:30", datetime(2026, 11, 23, 2, tzinfo=UTC)),
    ],
)
def test_a_time_is_an_age_or_a_local_time(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW, "--since") == moment


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1y", "yesterday", "-1h", "9" * 30 + "d"]
)
def test_another_text_is_rejected_with_the_valid_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since: .* is not a time; write 90s"):
        parse_time(text, NOW, "--since")


def test_a_day_is_local() -> None:
    late = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    assert parse_day("today", late) == date(2026, 11, 23)
    assert parse_day("yesterday", late) == date(2026, 11, 22)
    assert parse_day("2026-03-01", late) == date(2026, 3, 1)
    with pytest.raises(UsageError, match="is not a day"):
        parse_day("monday", late)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["events", "--json", "--csv"], "choose one"),
        (["events", "--since", "soon"], "--since: 'soon' is not a time"),
        (["events", "--since", "1h", "--until", "2h"], "is not after"),
        (["report", "someday"], "is not a day"),
        (["forget"], "give one of --since TIME"),
        (
            ["forget", "--all", "--since", "1h"],
            "give one of --since TIME",
        ),
    ],
)
def test_wrong_usage_is_one_sentence(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    code, err = fails(capsys, *arguments, "--config", config)
    assert code == 2
    assert complaint in err


@pytest.mark.parametrize("arguments", [["events"], ["report"], ["replay"]])
def test_a_missing_database_is_one_sentence_and_not_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    code, err = fails(capsys, *arguments, "--config", config)
    assert (code, "there is no database" in err) == (1, True)
    assert not (tmp_path / "state").exists()
    config.write_text("store: {path: null}\n")
    code, err = fails(capsys, *arguments, "--config", config)
    assert (code, "store.path is null" in err) == (2, True)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("events --label \udcff", r"\xff: is not text in UTF-8"),
        ("events --min-score 2", "less than or equal to 1"),
        ("events --min-score a", "valid number"),
        ("run --speed fast", "'fast' is not one of 'realtime', 'max'"),
        ("run --watchdog 4.9", "greater than or equal to 5"),
        ("scenes --snr-db 1", "requires 2 arguments"),
        ("train", "Missing argument 'DATA'"),
    ],
)
def test_a_value_that_cannot_be_is_one_sentence(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(line.split(" ")) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert sentence in error


def test_a_typer_of_other_parts_converts_all_values_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts: Any = next(
        kind for kind in TyperOption.__mro__ if "get_runtime_param" in vars(kind)
    )
    renamed = parts.get_runtime_param

    def process_value(self: Any, ctx: Any, value: Any) -> Any:
        return renamed(self).coerce(value, param=self, ctx=ctx)

    monkeypatch.setattr(parts, "process_value", process_value)
    monkeypatch.delattr(parts, "get_runtime_param")
    commands = typer.Typer()

    @commands.command(cls=Command)
    def exit_code(path: Path, code: int = 0) -> int:
        return code + len(path.parts)

    assert run_command_line(["a/b", "--code", "3"], commands) == 5
