"""Quiet times: stretches of the week, on a clock that is changed twice a year."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from monitor.config.alerts import WEEKDAYS, QuietSettings, minutes_of

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
    """Whether `moment` lies in one of the quiet times.

    Each is one stretch: from the first moment at which the clock shows or has passed
    its begin to the last at which it shows its end.  So where an hour comes twice, the
    quiet time does not end in between; where it is left out, what would begin or end
    in it does so at the change.
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
    """When clocks in `zone` show `local`: the first or the last time.

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
