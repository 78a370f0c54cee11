"""Levels of hours in the database: one row for each source and hour.

The blob of a row is one zlib stream, little-endian:

    uint16             number of third octaves, 0 where they were not measured
    uint32 (bands)     milliseconds that the level of each is the mean of
    float32 (bands)    level of each, dB
    int16              lowest level of the histogram, in 0.1 dB
    uint16             number of its steps
    uint32 (steps)     how often LAF, rounded, was at each step of 0.1 dB

Neither this module nor its readers need numpy.
"""

import contextlib
import math
import sqlite3
import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest

from monitor.records import ScoreFrame, Timed
from monitor.sinks.store.frame_rows import blob_of, decompress
from monitor.sinks.store.records import (
    INVALID,
    count_of,
    from_ms,
    insert,
    moment_of,
    select,
    source_key,
    text_of,
    to_ms,
)

FORMAT = 1
HOUR_MS = 3_600_000
STEPS_PER_DB = 10
"""Steps of the histogram."""

WRITE_SECONDS = 60.0
"""An hour is written after so many seconds of sound: a kill costs no more."""

MEMORY_HOURS = 1000
"""Hours of all sources that are kept while the database cannot be written."""


@dataclass(slots=True)
class LevelHour:
    """The levels of one source in one hour, as far as it was measured.

    Two of the same source add up: the parts of an hour, or the hours of a day.
    """

    source: str
    start: datetime
    """Begin of the hour, UTC."""

    offset_db: float
    """The part of each level that is the `level_offset_db` of the source."""

    covered_seconds: float = 0.0
    """Seconds that the levels are of."""

    energy: float = 0.0
    """A-weighted power, summed over those seconds."""

    lafmax_db: float = -math.inf
    """Highest A-weighted level with the time weighting Fast, dB."""

    histogram: Counter[int] = field(default_factory=Counter)
    """Number of samples of LAF, by their level in 0.1 dB."""

    octave_seconds: list[float] = field(default_factory=list)
    """Seconds for which each third octave, from 25 Hz, was measured: a model of a lower
    sample rate measures fewer."""

    octave_powers: list[float] = field(default_factory=list)
    """Power of each, summed over those seconds."""

    @property
    def laeq_db(self) -> float:
        """A-weighted equivalent level, dB; minus infinity without a sound."""
        return decibels(self.energy, self.covered_seconds)

    @property
    def third_octaves_db(self) -> list[float]:
        """Mean level of each third octave, dB; empty where they were not measured."""
        return list(map(decibels, self.octave_powers, self.octave_seconds))

    def exceeded_db(self, share: float) -> float:
        """Return the level that LAF exceeds for a share of the time: 0.1 for L10."""
        above, wanted = 0, share * self.histogram.total()
        for step in sorted(self.histogram, reverse=True):
            above += self.histogram[step]
            if above >= wanted:
                return step / STEPS_PER_DB
        return -math.inf

    def add(self, other: "LevelHour") -> None:
        """Take in what `other` measured."""
        self.covered_seconds += other.covered_seconds
        self.energy += other.energy
        self.lafmax_db = max(self.lafmax_db, other.lafmax_db)
        self.histogram.update(other.histogram)
        self._add_octaves(other.octave_powers, other.octave_seconds)

    def measure(self, frame: ScoreFrame, seconds: float) -> None:
        """Take in the newest hop of a frame, of so many seconds."""
        hop = frame.hop_levels
        assert hop is not None
        self.covered_seconds += seconds
        self.energy += power_of(frame.laeq_db) * seconds
        self.lafmax_db = max(self.lafmax_db, hop.lafmax_db)
        self.histogram.update(round(laf * STEPS_PER_DB) for laf in hop.laf_db)
        for levels in hop.third_octaves_db:
            lasts = seconds * hop.third_octave_samples / hop.samples
            powers = [power_of(level) * lasts for level in levels]
            self._add_octaves(powers, [lasts] * len(levels))

    def _add_octaves(self, powers: list[float], seconds: list[float]) -> None:
        self.octave_powers = _sums(self.octave_powers, powers)
        self.octave_seconds = _sums(self.octave_seconds, seconds)

    def columns(self) -> dict[str, object]:
        """Encode the row, without the key of its source."""
        steps = range(
            min(self.histogram, default=0), max(self.histogram, default=-1) + 1
        )
        octaves = self.third_octaves_db
        content = struct.pack(
            f"<H{len(octaves)}I{len(octaves)}fhH{len(steps)}I",
            len(octaves),
            *(round(1000 * seconds) for seconds in self.octave_seconds),
            *octaves,
            steps.start,
            len(steps),
            *(self.histogram[step] for step in steps),
        )
        return {
            "hour_ms": to_ms(self.start),
            "offset_db": self.offset_db,
            "covered_ms": round(1000 * self.covered_seconds),
            "energy": self.energy,
            "lafmax_db": self.lafmax_db,
            "format": FORMAT,
            "data": zlib.compress(content, 9),
        }


def by_source(hours: Iterable[LevelHour]) -> dict[str, list[LevelHour]]:
    """Sort hours by their source; each keeps their order."""
    found: dict[str, list[LevelHour]] = defaultdict(list)
    for hour in hours:
        found[hour.source].append(hour)
    return found


def joined(hours: Sequence[LevelHour]) -> LevelHour:
    """Add up hours of one source, at least one."""
    whole = LevelHour(hours[0].source, hours[0].start, hours[0].offset_db)
    for hour in hours:
        whole.add(hour)
    return whole


def _sums(ones: list[float], others: list[float]) -> list[float]:
    return [one + other for one, other in zip_longest(ones, others, fillvalue=0.0)]


def decibels(energy: float, parts: float) -> float:
    """Level of the mean of `energy` over so many parts."""
    return 10 * math.log10(energy / parts) if energy > 0 and parts > 0 else -math.inf


def power_of(level_db: float) -> float:
    """Power of a level, re that of 0 dB."""
    return float(10 ** (level_db / 10))


def read_level_hour(row: sqlite3.Row, *, percentiles: bool = True) -> LevelHour:
    """Turn a row of level_hours_read into its `LevelHour`.

    Without `percentiles` it has neither histogram nor third octaves.
    """
    numbers = (row["offset_db"], row["energy"], row["lafmax_db"])
    hour = LevelHour(
        text_of(row["source_name"]),
        moment_of(row["hour_ms"]),
        row["offset_db"],
        count_of(row["covered_ms"]) / 1000,
        row["energy"],
        row["lafmax_db"],
    )
    if percentiles:
        numbers += _read_content(row, hour)
    if not all(isinstance(each, float) and math.isfinite(each) for each in numbers):
        raise ValueError("it has a level that is no number")
    return hour


def _read_content(row: sqlite3.Row, hour: LevelHour) -> tuple[float, ...]:
    """Decode histogram and third octaves; return the levels of these."""
    if row["format"] != FORMAT:
        raise ValueError("its format is unknown; a newer version wrote it")
    try:
        content, _ = decompress(blob_of(row))
        (bands,) = struct.unpack_from("<H", content)
        times_ms = struct.unpack_from(f"<{bands}I", content, 2)
        levels = struct.unpack_from(f"<{bands}f", content, 2 + 4 * bands)
        first, steps = struct.unpack_from("<hH", content, 2 + 8 * bands)
        counts = struct.unpack_from(f"<{steps}I", content, 6 + 8 * bands)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from None
    hour.histogram = Counter(
        {first + at: count for at, count in enumerate(counts) if count}
    )
    hour.octave_seconds = [time_ms / 1000 for time_ms in times_ms]
    hour.octave_powers = [
        power_of(level) * seconds
        for level, seconds in zip(levels, hour.octave_seconds, strict=True)
    ]
    return levels


_Key = tuple[str, datetime, float]


class LevelHourLog:
    """Gathers the levels of hops and writes them.  Used by one thread at a time.

    A row is read and written anew with what has come since, so an hour goes on after a
    restart.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._parts: dict[_Key, LevelHour] = {}
        self._in_transaction: list[_Key] = []

    @property
    def pending(self) -> Sequence[LevelHour]:
        """What is not in the database yet, in the order in which it began."""
        return list(self._parts.values())

    def add(self, timed: Timed) -> None:
        """Take a score frame; one whose time is unknown is not kept."""
        frame = timed.record
        assert isinstance(frame, ScoreFrame)
        hop = frame.hop_levels
        if timed.end_utc is None or hop is None or hop.samples == 0:
            return
        length = timed.end_seconds - timed.start_seconds
        seconds = hop.samples * length / (frame.stop - frame.start)
        start_ms = to_ms(timed.end_utc - timedelta(seconds=seconds))
        hour = from_ms(start_ms - start_ms % HOUR_MS)
        key = (frame.source, hour, hop.offset_db)
        if key not in self._parts:
            self._parts[key] = LevelHour(*key)
        self._parts[key].measure(frame, seconds)

    def write(self, connection: sqlite3.Connection, *, ends: bool = False) -> None:
        """Write what is due in a transaction; then call `commit` or `roll_back`.

        If it `ends`, everything is due.
        """
        newest = {source: hour for source, hour, _ in self._parts}
        self._in_transaction = [
            key
            for key, part in self._parts.items()
            if ends
            or part.covered_seconds >= WRITE_SECONDS
            or part.start < newest[part.source]
        ]
        for key in self._in_transaction:
            _write_part(connection, self._parts[key])

    def commit(self) -> None:
        """Let go what was written last."""
        for key in self._in_transaction:
            del self._parts[key]
        self._in_transaction = []

    def roll_back(self) -> None:
        """Keep what was written last in memory, and drop the oldest beyond it."""
        self._in_transaction = []
        for key in list(self._parts)[: max(0, len(self._parts) - MEMORY_HOURS)]:
            del self._parts[key]

    def forget(self, since_ms: int, until_ms: int) -> None:
        """Drop the hours of a time that the user deleted."""
        for key, part in list(self._parts.items()):
            hour_ms = to_ms(part.start)
            if hour_ms + HOUR_MS > since_ms and hour_ms < until_ms:
                del self._parts[key]


def _write_part(connection: sqlite3.Connection, part: LevelHour) -> None:
    """Add a part of an hour to its row; insert the row if there is none."""
    values = {
        "source": source_key(connection, part.source),
        "hour_ms": to_ms(part.start),
        "offset_db": part.offset_db,
    }
    row = select(
        connection,
        "SELECT * FROM level_hours_read "
        "WHERE source = ? AND hour_ms = ? AND offset_db = ?",
        tuple(values.values()),
    ).fetchone()
    if row is None:
        insert(connection, "level_hours", {**part.columns(), **values})
        return
    whole = LevelHour(part.source, part.start, part.offset_db)
    with contextlib.suppress(*INVALID):  # Else another program wrote it.
        whole = read_level_hour(row)
    whole.add(part)
    connection.execute(
        "UPDATE level_hours SET covered_ms = :covered_ms, energy = :energy, "
        "lafmax_db = :lafmax_db, format = :format, data = :data WHERE id = :id",
        {**whole.columns(), "id": row["id"]},
    )
