"""The levels of a day and the noise diary, as `sound-monitor report` prints them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.commands.process import print_line, print_table
from monitor.errors import SoundMonitorError
from monitor.text import (
    counted,
    duration,
    gap_reason,
    level,
    percent,
    rounded,
    utc_text,
    weighted_unit,
)

if TYPE_CHECKING:
    from monitor.sinks.store.level_figures import LevelFigures, SpanLevels
    from monitor.sinks.store.noise_diary import NoiseDiary


_PERCENTILES = ("l10_db", "l50_db", "l90_db")
_INCIDENT = (
    *("source", "label", "start", "end", "events", "sounding_seconds", "share"),
    *("laeq_db", "lafmax_db"),
)


def level_facts(levels: "SpanLevels") -> dict[str, Any]:
    """Return the levels of a day for other programs; null where there is none."""
    return {
        "unit": weighted_unit(levels.is_calibrated),
        **_figures(levels.all_days.whole),
        "lden_db": rounded(levels.all_days.lden_db, 1),
        "periods": {name: _figures(it) for name, it in levels.all_days.periods.items()},
        "hours": [
            {"start": utc_text(it.start), "hour": it.hour, **_figures(it.figures)}
            for it in levels.hours
        ],
    }


def print_levels(levels: "Mapping[str, SpanLevels]") -> None:
    """Print a line for each source."""
    rows = []
    for source, span in levels.items():
        it, whole = span.all_days, span.all_days.whole
        periods = (it.periods[name].laeq_db for name in ("day", "evening", "night"))
        percentiles = (getattr(whole, name) for name in _PERCENTILES)
        numbers = (*periods, it.lden_db, whole.lafmax_db, *percentiles)
        unit, share = weighted_unit(span.is_calibrated), percent(whole.coverage)
        rows.append((source, unit, *map(_text, numbers), share))
    header = "SOURCE", "UNIT", "LDAY", "LEVENING", "LNIGHT", "LDEN", "LAFMAX"
    print_table((*header, "L10", "L50", "L90", "MEASURED"), rows)
    for source, span in levels.items():
        if span.is_mixed:
            print_line(
                f"{source}: for a part of this time level_offset_db was not set; what "
                "was measured without it is left out"
            )


def diary_facts(diary: "NoiseDiary") -> dict[str, Any]:
    """Return the diary for other programs."""
    return {
        "start": utc_text(diary.start),
        "end": utc_text(diary.end),
        "seconds": diary.seconds,
        "sources": {
            name: {
                "unit": weighted_unit(it.is_calibrated),
                "level_offsets_db": it.offsets_db,
                "listened_seconds": rounded(it.listened_seconds, 1),
                "short_gaps": it.short_gaps,
                "short_gaps_seconds": rounded(it.short_seconds, 1),
            }
            for name, it in diary.sources.items()
        },
        "incidents": [
            {**_facts(it, _INCIDENT), "unit": weighted_unit(it.is_calibrated)}
            for it in diary.incidents
        ],
        "not_listened": [
            {**asdict(it), "start": utc_text(it.start), "end": utc_text(it.end)}
            for it in diary.missed
        ],
    }


def print_diary(diary: "NoiseDiary") -> None:
    """Print incidents, what the levels are, and what was not listened to."""
    first, last = (_minute(moment) for moment in (diary.start, diary.end))
    print_line(f"Noise diary, {first} to {last}")
    for name, source in diary.sources.items():
        share = percent(diary.coverage(name))
        print_line(f"{name}: measured {share} of the time; {source.calibration}")
    print_line()
    rows = [
        (
            f"{_minute(it.start)}-{it.end.astimezone():%H:%M}",
            it.source,
            it.label,
            str(it.events),
            duration(it.sounding_seconds),
            percent(it.share),
            _text(it.laeq_db),
            _text(it.lafmax_db),
            weighted_unit(it.is_calibrated),
        )
        for it in diary.incidents
    ]
    header = "TIME", "SOURCE", "LABEL", "EVENTS", "SOUNDED", "SHARE", "LAEQ", "LAFMAX"
    print_table((*header, "UNIT"), rows, "No incidents.")
    print_line()
    gaps = [
        (_minute(it.start), it.source, duration(it.seconds), gap_reason(it.reason))
        for it in diary.missed
    ]
    columns = "NOT LISTENED", "SOURCE", "FOR", "REASON"
    print_table(columns, gaps, "Nothing of 10 s or longer was missed.")
    for name, source in diary.sources.items():
        if source.short_gaps:
            print_line(
                f"{name}: and {counted(source.short_gaps, 'shorter gap')}, "
                f"{duration(source.short_seconds)} in all"
            )


def write_csv(file: Path, diary: "NoiseDiary") -> None:
    """Write the diary as comma-separated values.

    Raises:
        SoundMonitorError: The file cannot be written.
    """
    from monitor.sinks.store.noise_diary import diary_csv

    try:
        file.write_text(diary_csv(diary), encoding="utf-8", newline="")
    except OSError as error:
        raise SoundMonitorError(
            f"--csv: {file} cannot be written: {error.strerror}"
        ) from None


def _figures(figures: "LevelFigures") -> dict[str, Any]:
    octaves = figures.third_octaves_db
    return {
        "seconds": figures.seconds,
        "measured_seconds": rounded(figures.covered_seconds, 1),
        **_facts(figures, ("coverage", "laeq_db", "lafmax_db", *_PERCENTILES)),
        "third_octaves_db": octaves and [rounded(each, 1) for each in octaves],
    }


def _facts(it: object, names: Iterable[str]) -> dict[str, Any]:
    """Return attributes for other programs: times in UTC, numbers rounded."""
    found = {name: getattr(it, name) for name in names}
    for name, value in found.items():
        if isinstance(value, datetime):
            found[name] = utc_text(value)
        elif isinstance(value, float):
            found[name] = rounded(value, 4 if name in ("share", "coverage") else 1)
    return found


def _text(decibels: float | None) -> str:
    return "-" if decibels is None else level(decibels, 1)


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
