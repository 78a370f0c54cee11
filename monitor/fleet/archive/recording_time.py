"""The time at which a recording began: from a sidecar, its header, or its name."""

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from zoneinfo import ZoneInfo

import soundfile

from monitor.errors import UsageError
from monitor.private_files import read_regular
from monitor.text import counted

logger = logging.getLogger(__name__)

_YEARS = range(1990, 2101)
_MOST_BYTES = 2**20

# 20240501_050000 (AudioMoth, SM4), 20240501T050000+0200, 2024-05-01 05:00:00.123Z
_NAME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)([T _-]?)(\d\d)[-:.]?(\d\d)[-:.]?(\d\d)"
    r"(?:[.,](\d{1,6}))?(Z|[+-]\d\d[:-]?\d\d)?(?!\d)"
)
_HEX = re.compile(r"[0-9A-F]{8}")
_COMMENT = re.compile(
    r"Recorded at (\d\d:\d\d:\d\d(?:\.\d+)?) (\d\d/\d\d/\d{4}) "
    r"\(UTC(?:([+-])(\d{1,2})(?::(\d\d))?)?\)"
)
_GUANO = re.compile(r"^\s*Timestamp\s*:\s*(\S.*?)\s*$", re.MULTILINE)
_KEYS = ("start", "start_time", "recorded_at", "timestamp", "datetime")


class RecordingTime(NamedTuple):
    """The begin of a recording."""

    start: datetime
    """UTC."""

    origin: str
    """Where it was found: pattern, sidecar, guano, comment, name or bext."""


@dataclass(frozen=True, slots=True)
class TimeRules:
    """How the times of recordings are found."""

    pattern: str | None = None
    """A format of strptime for the whole name without its suffix; None: known forms."""

    zone: str = "UTC"
    """Name of the time zone of times that state none."""

    def check(self) -> None:
        """Check both.

        Raises:
            UsageError: One of them is none.
        """
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, KeyError):
            raise UsageError(
                f"--time-zone: {self.zone!r} is no time zone; write a name such as "
                "Europe/Vienna or UTC"
            ) from None
        if self.pattern is None:
            return
        if "%" not in self.pattern:
            raise UsageError(
                f"--time-pattern: {self.pattern!r} has no % of strptime, as in "
                "%Y%m%d_%H%M%S"
            )
        try:
            datetime.strptime(datetime.now(UTC).strftime(self.pattern), self.pattern)  # noqa: DTZ007
        except (ValueError, re.error) as error:
            raise UsageError(f"--time-pattern: {self.pattern!r}: {error}") from None

    def warn_if_unused(self, names: Sequence[str]) -> None:
        """Log if the pattern fits none of the names of recordings."""
        if self.pattern is None or not names:
            return
        stems = [PurePosixPath(name).stem for name in names]
        if not any(_by_pattern(stem, self.pattern, UTC) for stem in stems):
            logger.warning(
                "--time-pattern: %r fits none of the %s, as %r: no time is known",
                self.pattern,
                counted(len(names), "name"),
                stems[0],
            )


def recording_time(name: str, path: Path, rules: TimeRules) -> RecordingTime | None:
    """Find the time at which a recording began; None: it is unknown.

    Args:
        name: Its name in the archive.
        path: The file; a sidecar `NAME.json` may lie beside.
        rules: With a pattern, nothing but the name counts.
    """
    zone, stem = ZoneInfo(rules.zone), PurePosixPath(name).stem
    for origin, found in _candidates(path, stem, rules, zone):
        if found is not None and found.year in _YEARS:
            return RecordingTime(found.astimezone(UTC), origin)
    return None


def recorder_of(name: str) -> str:
    """Name the recorder: what stands before the time in a name, else its folder."""
    path = PurePosixPath(name)
    found = _NAME.search(path.stem)
    before = path.stem[: found.start()].strip("_- .") if found else ""
    text = re.sub(r"[^A-Za-z0-9_.-]", "_", before or path.parent.name)[:63]
    return text.lstrip("_.-") or "recording"


def _candidates(
    path: Path, stem: str, rules: TimeRules, zone: tzinfo
) -> Iterator[tuple[str, datetime | None]]:
    if rules.pattern is not None:
        yield "pattern", _by_pattern(stem, rules.pattern, zone)
        return
    yield "sidecar", _of_sidecar(path.with_suffix(".json"), zone)
    chunks = dict(_chunks(path))
    yield "guano", _of_guano(chunks.get(b"guan", b""), zone)
    yield "comment", _of_comment(path)
    yield "name", _of_name(stem, zone)
    yield "bext", _of_bext(chunks.get(b"bext", b""), zone)


def _by_pattern(stem: str, pattern: str, zone: tzinfo) -> datetime | None:
    try:
        return _in_zone(datetime.strptime(stem, pattern), zone)  # noqa: DTZ007
    except ValueError:
        return None


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _of_iso(text: str, zone: tzinfo) -> datetime | None:
    try:
        return _in_zone(datetime.fromisoformat(text.strip()), zone)
    except ValueError:
        return None


def _of_name(stem: str, zone: tzinfo) -> datetime | None:
    if _HEX.fullmatch(stem):  # early AudioMoths: seconds since 1970
        return datetime.fromtimestamp(int(stem, 16), UTC)
    for found in _NAME.finditer(stem):
        *numbers, fraction, offset = found.group(1, 2, 3, 5, 6, 7, 8, 9)
        # Behind other separators than that of ISO 8601 it is a number of something.
        offset = (offset or "") if found[4] in "T " else ""
        digits = "{}-{}-{}T{}:{}:{}".format(*numbers)
        hours = offset.replace("-", "") if offset[:1] != "-" else "-" + offset[1:]
        text = f"{digits}.{(fraction or '0').ljust(6, '0')}{hours}"
        if (moment := _of_iso(text, zone)) is not None:
            return moment
    return None


def _of_sidecar(path: Path, zone: tzinfo) -> datetime | None:
    try:
        facts = json.loads(read_regular(path, _MOST_BYTES))
        value = next((facts[key] for key in _KEYS if key in facts), None)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        return _of_iso(value, zone) if isinstance(value, str) else None
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _of_guano(chunk: bytes, zone: tzinfo) -> datetime | None:
    found = _GUANO.search(chunk.decode("utf-8", "replace"))
    return None if found is None else _of_iso(found[1], zone)


def _of_comment(path: Path) -> datetime | None:
    """Read the comment of an AudioMoth: in a LIST chunk, or a tag of FLAC."""
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            found = _COMMENT.search(file.comment)
    except (soundfile.SoundFileError, OSError, UnicodeError):
        return None
    if found is None:
        return None
    clock, day, sign, hours, minutes = found.groups()
    offset = f"{sign}{int(hours):02d}:{minutes or '00'}" if sign else "Z"
    return _of_iso("-".join(reversed(day.split("/"))) + f"T{clock}{offset}", UTC)


def _of_bext(chunk: bytes, zone: tzinfo) -> datetime | None:
    """Read date and time of the chunk of broadcast WAV (EBU Tech 3285)."""
    text = chunk[320:338].decode("ascii", "replace")
    return _of_iso(f"{text[:10]}T{text[10:].replace('-', ':')}", zone) if text else None


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Read the chunks of a WAV file that are no longer than a megabyte."""
    try:
        with path.open("rb") as file:
            if file.read(4) not in (b"RIFF", b"RF64") or len(file.read(8)) < 8:
                return
            yield from _next_chunks(file)
    except OSError:
        return


def _next_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if length <= _MOST_BYTES and head[:4] in (b"guan", b"bext"):
            yield head[:4], file.read(length)
            file.seek(length % 2, 1)
        else:
            file.seek(length + length % 2, 1)
