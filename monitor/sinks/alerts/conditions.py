"""The conditions under which a rule reports: cooldown, hourly quota, quiet times."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, TypeAdapter

from monitor.config.alerts import WEEKDAYS, QuietSettings, minutes_of
from monitor.sinks.store.records import to_ms

HOUR_MS = 3_600_000
MAX_EXAMPLES = 20

Milliseconds = Annotated[int, Field(ge=0, lt=250_000_000_000_000)]
"""UTC, up to the year 9892."""


@dataclass
class Case:
    """The state of a rule for one ongoing occurrence or health problem."""

    source: str
    label: str
    """Label of the occurrence, or kind of the health problem."""

    start: str | None = None
    """Start, UTC, ISO 8601; None: unknown."""

    detail: str = ""
    """Sentence for the operator about a health problem."""

    reported: bool = False
    """True after an alert: the end is reported too."""

    settled: bool = False
    """True once its begin was reported, or never will be."""

    escalated: bool = False
    repeats: int = 0
    """Number of still_on alerts so far."""

    withheld: bool = False
    """True once its alert was withheld because the rule is muted."""


_RENAMED = {"told": "reported", "kind": "label"}
"""Fields of a case in states of version 1."""


class Cases:
    """The open cases of one rule, and the cooldown of those that it reported."""

    def __init__(self, cooldown_seconds: float) -> None:
        self.going_on: dict[str, Case] = {}
        """Cases by the id of the occurrence or the health record."""

        self._cooldown_ms = cooldown_seconds * 1000
        self._last_ms: dict[tuple[str, str], int] = {}

    def is_cooling_down(self, case: Case, now: datetime) -> bool:
        """Test whether the latest report of this label and source is too recent."""
        last = self._last_ms.get((case.source, case.label))
        return last is not None and 0 <= to_ms(now) - last < self._cooldown_ms

    def shift(self, step_ms: int) -> None:
        """Move the remembered times, for the wall clock was set."""
        self._last_ms = {key: ms + step_ms for key, ms in self._last_ms.items()}

    def note_report(self, case: Case, now: datetime) -> None:
        """Begin the cooldown of a label and source anew."""
        case.reported = True
        self._last_ms[case.source, case.label] = to_ms(now)

    def state(self) -> dict[str, Any]:
        """Return what must be remembered over a restart."""
        return {
            "cases": {key: asdict(case) for key, case in self.going_on.items()},
            "last_ms": [[*key, ms] for key, ms in self._last_ms.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of an earlier run."""
        cases = {
            key: {_RENAMED.get(name, name): it for name, it in fields.items()}
            for key, fields in state["cases"].items()
        }
        self.going_on = TypeAdapter(dict[str, Case]).validate_python(cases)
        times = TypeAdapter(list[tuple[str, str, Milliseconds]])
        last_ms = times.validate_python(state["last_ms"])
        self._last_ms = {(source, label): ms for source, label, ms in last_ms}


@dataclass
class Held:
    """Reports held back because there were too many alerts."""

    since_ms: Milliseconds
    count: int = 0
    sounds: list[dict[str, Any]] = field(default_factory=list)
    """Counts by source and label; of a health problem the label is its kind."""

    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, case: Case, example: Mapping[str, Any]) -> None:
        """Count a report; `example` adds to its source and label in the digest."""
        self.count += 1
        key = {"source": case.source, "label": case.label}
        for each in self.sounds:
            if key.items() <= each.items():
                each["count"] += 1
                break
        else:
            self.sounds.append({**key, "count": 1})
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append({**key, **example})

    @property
    def since(self) -> datetime:
        """Time at which the first was held back."""
        return datetime.fromtimestamp(self.since_ms / 1000, UTC)


def _check_held(held: Held | None) -> None:
    for each in () if held is None else held.sounds:
        names = each.get("source"), each.get("label")
        if not (isinstance(each.get("count"), int) and {*map(type, names)} == {str}):
            raise ValueError("the sounds held back are no counts")


_SENT_MS = TypeAdapter(list[Milliseconds])
_HELD = TypeAdapter(Held | None)


class Quota:
    """The alerts of one rule in the last hour, and the reports held back."""

    def __init__(self, max_per_hour: int | None) -> None:
        self._max_per_hour = max_per_hour
        self._sent_ms: list[int] = []
        self._held: Held | None = None

    def has_room(self, case: Case, example: Mapping[str, Any], now: datetime) -> bool:
        """Take room for one more alert in the hour; without any, hold it back."""
        if self._max_per_hour is None:
            return True
        now_ms = to_ms(now)
        self._sent_ms = [ms for ms in self._sent_ms if 0 <= now_ms - ms < HOUR_MS]
        if len(self._sent_ms) < self._max_per_hour:
            self._sent_ms.append(now_ms)
            return True
        if self._held is None:
            self._held = Held(now_ms)
        self._held.add(case, example)
        return False

    def shift(self, step_ms: int) -> None:
        """Move the remembered times, for the wall clock was set."""
        self._sent_ms = [ms + step_ms for ms in self._sent_ms]
        if self._held is not None:
            self._held.since_ms += step_ms

    def take_due(self, now: datetime) -> Held | None:
        """Take all reports held back, if the first of them is an hour old."""
        held = self._held
        if held is None or 0 <= to_ms(now) - held.since_ms < HOUR_MS:
            return None
        self._held = None
        return held

    def state(self) -> dict[str, Any]:
        """Return what must be remembered over a restart."""
        return {
            "told_ms": list(self._sent_ms),
            "held": None if self._held is None else asdict(self._held),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of an earlier run."""
        held = _HELD.validate_python(state["held"])
        _check_held(held)
        self._sent_ms, self._held = _SENT_MS.validate_python(state["told_ms"]), held


@dataclass
class Mute:
    """A time in which a rule reports nothing that begins."""

    since_ms: Milliseconds
    seconds: Annotated[float, Field(gt=0)]
    withheld: int = 0
    """Number of occurrences and health problems that would have been reported."""

    @property
    def until(self) -> datetime:
        """Its end, UTC."""
        return datetime.fromtimestamp(self.since_ms / 1000 + self.seconds, UTC)

    def is_over(self, now: datetime) -> bool:
        """Test whether it has ended.

        A clock that is behind, as before it is set after a start, does not end it: it
        lasts at most its seconds from now on.  Cooldown and quota end then, for they
        would only hold alerts back that nobody has asked to be without.
        """
        self.since_ms = min(self.since_ms, to_ms(now))
        return to_ms(now) - self.since_ms >= 1000 * self.seconds

    def withhold(self, case: Case) -> None:
        """Count a case, once."""
        self.withheld += not case.withheld
        case.withheld = True


MUTE = TypeAdapter(Mute | None)
"""Reads a mute as `asdict` has written it."""

MACHINE_ZONE = Path("/etc/localtime")


def find_zone(name: str | None, machine_zone: Path = MACHINE_ZONE) -> tzinfo:
    """Find the time zone called `name`; None: that of the machine, UTC if unknown.

    Not the machine's present offset, which would be wrong after the next clock change.
    """
    if name is not None:
        return ZoneInfo(name)
    try:
        with machine_zone.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC


def is_quiet(quiet: Sequence[QuietSettings], zone: tzinfo, moment: datetime) -> bool:
    """Test whether `moment` lies in one of the quiet times.

    Each is one interval: from the first moment at which the clock shows or has passed
    its begin to the last at which it shows its end.  So where an hour comes twice, the
    quiet time does not end in between; where an hour is left out, a begin or an end
    that falls into it takes place at the change.
    """
    today = moment.astimezone(zone).date()
    for each in quiet:
        begin, end = minutes_of(each.begin), minutes_of(each.end)
        for date in (today - timedelta(days=1), today):
            if WEEKDAYS[date.weekday()] not in each.weekdays:
                continue
            midnight = datetime.combine(date, time())
            last = midnight + timedelta(minutes=end, days=end < begin)
            first = midnight + timedelta(minutes=begin)
            if _instant(first, zone, fold=0) <= moment < _instant(last, zone, fold=1):
                return True
    return False


def _instant(local: datetime, zone: tzinfo, *, fold: int) -> datetime:
    """The first or the last time at which clocks in `zone` show `local`.

    Where they never do, because the hour is left out: the moment of the change.
    """
    first, last = (
        local.replace(tzinfo=zone, fold=each).astimezone(UTC) for each in (0, 1)
    )
    if first <= last:
        return (first, last)[fold]
    before, after = last, first
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
