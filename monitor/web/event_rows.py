"""Events as the list shows them: facts as text, scores as a picture, and the clip."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.records import Event, Onset, Timed
from monitor.sinks.store.event_pages import ListedEvent
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.score_curves import COLUMNS, ScoreCurve
from monitor.text import WeightedUnits, level, utc_text
from monitor.web.clip_index import LOWEST_HZ, ClipFile, ClipIndex
from monitor.web.event_filters import key_text
from monitor.web.labels import label_rank
from monitor.web.rendering import decimals, duration_text, label_text

AROUND = timedelta(seconds=4)
"""Of scores, before and after the event."""

LONGEST = timedelta(minutes=5)
"""Of an event, in the picture of its scores."""

HEIGHT = 24


@dataclass(frozen=True, slots=True)
class CurvePicture:
    """Scores over time, as a path of SVG in a box of COLUMNS by HEIGHT."""

    path: str
    event_x: float
    event_width: float


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """The start of an event, by the clock and in the zone of the device."""

    utc: str = ""
    """UTC, in ISO 8601; empty: unknown."""

    date: str = ""
    clock: str = "-"


@dataclass(frozen=True, slots=True)
class ClipPlayer:
    """A clip, and where the event is in it; seconds."""

    seconds: float
    event_start: float
    event_stop: float
    hertz: Sequence[int]
    """Frequencies along its spectrogram, from the bottom, at equal distances."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of the list."""

    record: Onset | Event
    key: str
    name: str
    """The label in the language of the viewer."""

    rank: int
    time: DeviceTime
    duration: str
    is_going_on: bool
    score: str
    mean_score: str
    level: str
    top: str
    end_reason: str
    verdict: str
    """Empty: none."""

    true_label: str
    true_name: str
    locked: bool
    curve: CurvePicture | None
    player: ClipPlayer | None


def event_rows(
    events: Sequence[ListedEvent],
    reader: Reader,
    clips: ClipIndex | None,
    units: WeightedUnits,
    language: str,
) -> Iterator[EventRow]:
    """Prepare events for the list; blocking, for it reads scores and clips."""
    for each in events:
        record = _record(each.timed)
        curve = _curve(reader, each.timed)
        clip = clips and clips.find(record.id, record.source, each.timed.start_utc)
        review = each.review
        true_label = (review and review.label) or ""
        is_going_on = isinstance(record, Onset)
        # The level that is stored of one that goes on is that of its first moment.
        laeq = "-" if is_going_on else level(record.laeq_db)
        yield EventRow(
            record=record,
            key=key_text(each.key),
            name=label_text(language, record.label),
            rank=label_rank(record.label),
            time=_time(each.timed.start_utc),
            duration=decimals(
                language,
                duration_text(each.timed.end_seconds - each.timed.start_seconds),
            ),
            is_going_on=is_going_on,
            score=_score(record.peak_score, language),
            mean_score=_score(record.mean_score, language),
            level=laeq
            if laeq == "-"
            else f"{laeq} {units.of(record.source, record.level_offset_db)}",
            top=", ".join(
                f"{label_text(language, label)} {_score(score, language)}"
                for label, score in record.top
            ),
            end_reason=record.end_reason if isinstance(record, Event) else "",
            verdict=(review and review.verdict) or "",
            true_label=true_label,
            true_name=label_text(language, true_label),
            locked=review is not None and review.locked,
            curve=curve,
            player=_player(clip, each.timed) if clip else None,
        )


def _record(timed: Timed) -> Onset | Event:
    record = timed.record
    assert isinstance(record, Onset | Event)
    return record


def _score(score: float, language: str) -> str:
    return decimals(language, f"{score:.2f}") if math.isfinite(score) else "-"


def _time(start: datetime | None) -> DeviceTime:
    if start is None:
        return DeviceTime()
    local = start.astimezone()
    return DeviceTime(str(utc_text(start)), f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}")


def _curve(reader: Reader, timed: Timed) -> CurvePicture | None:
    start, stop = timed.start_utc, timed.end_utc
    if start is None or stop is None:
        return None
    record, stop = _record(timed), max(start, min(stop, start + LONGEST))
    since, until = start - AROUND, stop + AROUND
    curve = reader.score_curve(record.source, record.label, since, until)
    if curve is None:
        return None
    span = until - since
    return CurvePicture(
        curve_path(curve),
        round(COLUMNS * (AROUND / span), 2),
        round(max(1.0, COLUMNS * ((stop - start) / span)), 2),
    )


def curve_path(curve: ScoreCurve) -> str:
    """Return the area under the scores; columns that were not analysed are left out."""
    path, height = [], ""
    for column, score in enumerate((*curve, None)):
        before, height = height, ""
        if score is not None:
            height = f"{HEIGHT * (1 - score):.3g}"
        if height == before:
            continue
        if before:
            path.append(f"H{column}" if height else f"H{column}V{HEIGHT}Z")
        if height:
            path.append(f"V{height}" if before else f"M{column} {HEIGHT}V{height}")
    return "".join(path)


def _player(clip: ClipFile, timed: Timed) -> ClipPlayer:
    assert timed.start_utc is not None
    start = (timed.start_utc - clip.begins).total_seconds()
    stop = start + timed.end_seconds - timed.start_seconds
    return ClipPlayer(
        round(clip.seconds, 3),
        round(min(max(0.0, start), clip.seconds), 3),
        round(min(max(0.0, stop), clip.seconds), 3),
        frequencies(clip.sample_rate),
    )


def frequencies(sample_rate: int) -> list[int]:
    """Return round frequencies at five heights of a spectrogram, in hertz."""
    ratio = sample_rate / 2 / LOWEST_HZ
    found = [LOWEST_HZ * ratio ** (part / 4) for part in range(5)]
    return [int(float(f"{hertz:.2g}")) for hertz in found]
