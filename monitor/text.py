"""Words for people: times, durations, levels, reasons, health."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from monitor.records import GapReason, HealthKind

GAP_REASONS: "dict[GapReason, str]" = {
    "overrun": "analysis was too slow",
    "overload": "windows left out: machine too slow",
    "stalled": "the source delivered nothing",
    "ended": "the source ended",
    "unplugged": "the source was gone",
    "invalid": "the source delivered invalid samples",
    "reloaded": "the source was opened again for a new configuration",
    "fragmented": "too short between losses",
}

HEALTH_KINDS: "dict[HealthKind, str]" = {
    "clipping": "clipping",
    "dc-offset": "DC offset",
    "dead-channel": "dead channel",
    "stuck-channel": "stuck",
    "digital-silence": "all zeros",
    "no-signal": "no signal",
    "repetition": "repetition",
    "below-gate": "too quiet?",
    "noise-floor": "muffled?",
    "deaf": "no audio",
    "canary": "canary fails",
    "overload": "overload",
    "compute-device": "GPU failed",
    "disk": "disk trouble",
    "database": "bad database",
    "clips": "no clips",
    "locked-clips": "locked clips",
    "publish": "no publish",
    "overrides": "overrides",
    "rollout": "bad bundle",
}
"""Names for narrow columns, of at most twelve characters."""


_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)
"""Begins of formulas in spreadsheets, some of which take wide characters too."""


def printable(text: str) -> str:
    """Replace what could move the cursor or break the line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def first_line(error: BaseException) -> str:
    """What an error says in its first line, or else its class."""
    lines = str(error).strip().splitlines()
    return printable(lines[0]) if lines else type(error).__name__


def table_text(text: str) -> str:
    """A text in a table for people: no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def cells(text: str) -> int:
    """Width of a printable text on a terminal, in cells."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(combining, text)))


def path_text(path: str | os.PathLike[str]) -> str:
    r"""A path that every encoding can hold: a byte that is not UTF-8 becomes \xe9."""
    text = os.fspath(path).encode(errors="backslashreplace").decode()
    return text.replace(r"\udc", r"\x")


def utc_text(moment: datetime | None) -> str | None:
    """UTC in ISO 8601 with milliseconds; None where it is unknown."""
    if moment is None:
        return None
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def local_time(moment: datetime) -> str:
    """Date and local time with tenths of a second: 2026-11-23 06:56:13.4."""
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 100_000}"


def position(seconds: float) -> str:
    """Position in a recording: 0:01:02.3."""
    tenths = int(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // 10:02d}.{rest % 10}"


def moment(seconds: float, utc: datetime | None) -> str:
    """Local time, or the position in the recording where no time is known."""
    return position(seconds) if utc is None else local_time(utc)


def duration(seconds: float) -> str:
    """A duration in at most seven characters: 6.7 s, 12m 05s, 3h 12m, 5d 03h."""
    if not math.isfinite(seconds):
        return "-"
    if round(seconds, 1) < 60:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02d}h"


def level(decibels: float, digits: int = 0) -> str:
    """Decibels without a minus before zero; a dash where there is no number."""
    if not math.isfinite(decibels):
        return "-"
    return f"{round(decibels, digits) + 0.0:.{digits}f}"


def weighted_unit(level_offset_db: float) -> str:
    """Unit of the A-weighted levels of a source.

    They are re full scale until the offset of its microphone is set.
    """
    return "dB(A)" if level_offset_db else "dBFS(A)"


class WeightedUnits:
    """Units of the A-weighted levels of several sources, in one column."""

    def __init__(self, units: Mapping[str, str]) -> None:
        """`units` has the unit of each source; others are not calibrated."""
        self._units = units
        first = set(units.values())
        self.column = first.pop() if len(first) == 1 else weighted_unit(0)
        """Unit of the column."""

        self.is_mixed = len(set(units.values())) > 1
        """True if some sources are calibrated, and others are not."""

    def of(self, source: str, offset_db: float | None = None) -> str:
        """Unit of levels of a source with this offset; None: of its levels now."""
        if offset_db is not None:
            return weighted_unit(offset_db)
        return self._units.get(source, weighted_unit(0))

    def cell(self, source: str, decibels: float, offset_db: float | None = None) -> str:
        """A level with one decimal, and its unit where it is not that of the column.

        `offset_db` is as in `of`.
        """
        unit = self.of(source, offset_db)
        text = level(decibels, 1)
        return text if unit == self.column or text == "-" else f"{text} {unit}"


def rounded(value: float | None, digits: int) -> float | None:
    """Round to `digits`, for JSON; None for infinities and NaN, which it lacks."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0  # -0.0 + 0.0 is 0.0


LONGEST_FAULT = 500


def first_fault(sentences: str) -> str:
    """The first of several lines, cut if it is long, and the number of the others."""
    first, *others = sentences.splitlines()
    if len(first) > LONGEST_FAULT:
        first = f"{first[:LONGEST_FAULT]}..."
    more = f" (and {counted(len(others), 'more fault')})" if others else ""
    return f"{first}{more}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 gap, 2 gaps."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def gap_reason(reason: str) -> str:
    """Why a source was not listened to: the reason of a gap, or "off"."""
    texts: dict[str, str] = {"off": "the monitor did not run"} | {**GAP_REASONS}
    return texts.get(reason, reason)


def percent(share: float | None) -> str:
    """A share in per cent: 100 % only if nothing is missing, a dash if unknown."""
    if share is None or not math.isfinite(share):
        return "-"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    if 0 < share < 0.0001:
        return "< 0.01 %"
    return f"{int(round(share * 10_000, 6)) / 100:.2f} %"


def redact_url(url: str) -> str:
    """Keep scheme, host and port: path and query may be as secret as a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "?", parts.port
    except ValueError:
        return "a URL"
    host = f"[{host}]" if ":" in host else host
    more = "/..." if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{more}"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text that came from elsewhere by ***."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


SHORTEST_SECRET = 4
"""Shorter parts of a URL are words such as `to` as often as secrets."""


def secret_parts(url: str) -> list[str]:
    """Return a part of a URL and the words in it that may be secrets, longest first."""
    words = {url, *re.split(r"[/:@?&=,;]", url)}
    words |= {unquote(word) for word in words}
    return sorted((w for w in words if len(w) >= SHORTEST_SECRET), key=len)[::-1]


_USER = re.compile(r"(?<=//)[^/@\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+")
_NAMED = re.compile(
    r"((?:password|passwd|secret|token|api[-_]?key|authorization)[=:]\s*(?:basic\s+)?"
    r"(?:bearer\s+)?|bearer\s+)[^\s'\"&,;]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Replace users and queries of URLs, and values named as secrets, by ***.

    The last output of a program may hold the address that it was given.
    """
    text = _USER.sub("***@", text)
    text = _QUERY.sub(r"\1***", text)
    return _NAMED.sub(r"\1***", text)


MAX_NAME = 63


def name_problem(text: str) -> str | None:
    """Describe why a text cannot name a label or a model; None: it can.

    Names are printed on terminals and in pages, and typed into configurations: any
    characters that show are allowed, so no line breaks, tabs or escape sequences.  Not
    at the start: what makes a cell of a spreadsheet a formula, or a word an option.
    """
    if not text.strip():
        return "it is empty"
    if text[0].isspace():
        return "it begins with a space"
    if text[0] in "=+-@":
        return f"it begins with {text[0]!r}, as formulas and options do"
    if len(text) > MAX_NAME:
        return f"it has {len(text)} characters, more than {MAX_NAME}"
    for character in text:
        if not character.isprintable():
            return f"it holds {character!a}, a character that cannot be shown"
    return None
