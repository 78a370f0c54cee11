"""Moments and days as users write them."""

import re
from datetime import UTC, date, datetime, timedelta

from monitor.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def parse_moment(text: str, now: datetime, option: str) -> datetime:
    """Read 90s, 15m, 1h, 2d or 1w (ago), a date, or a time in ISO 8601.

    Args:
        text: As the user wrote it; a time without an offset is local.
        now: What the clock says.
        option: Name of the option, for the message.

    Returns:
        UTC.

    Raises:
        UsageError: It is none of these.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            unit = {_UNITS[ago[2]]: float(ago[1])}
            return (now - timedelta(**unit)).astimezone(UTC)
        # A naive time is taken as local.
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option}: {text!r} is no moment; write 90s, 15m, 1h, 2d or 1w for so "
            "long ago, or a time like 2026-11-23T07:30"
        ) from None


def parse_day(text: str, now: datetime) -> date:
    """Read today, yesterday or a date, in local time.

    Raises:
        UsageError: It is none of these.
    """
    today = now.astimezone().date()
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    try:
        return named.get(text) or date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"DAY: {text!r} is no day; write today, yesterday or a date like 2026-11-23"
        ) from None
