"""The filters of a list of events, in the query of its address."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from monitor.sinks.store.event_pages import REVIEWS, EventFilters, EventKey
from monitor.sinks.store.records import from_ms

MOST_VALUES = 20
LONGEST_VALUE = 100
"""Labels and sources; a page repeats each in many addresses."""

MOST_IDS = 200


class QueryError(Exception):
    """A value of the address is none of its key."""

    def __init__(self, kind: str, value: str, **more: object) -> None:
        """Refuse a value; `kind` is the key of the text in `events.problems`."""
        super().__init__(kind, value)
        self.kind = kind
        self.values = {"value": value[:40], **more}


@dataclass(frozen=True, slots=True)
class Query(EventFilters):
    """The filters as they stand in the address; the labels may be groups."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Keys and values, for the address."""
        found = [("label", label) for label in self.labels]
        found += [("source", source) for source in self.sources]
        for key, moment in (("since", self.since), ("until", self.until)):
            if moment is not None:
                found.append((key, local_text(moment)))
        if self.min_score is not None:
            found.append(("min_score", f"{self.min_score:g}"))
        if self.review:
            found.append(("review", self.review))
        return found

    def address(self, **more: str) -> str:
        """Return the query of the address, with its question mark."""
        return f"?{urlencode([*self.pairs, *more.items()])}"

    def without(self, key: str, value: str) -> str:
        """Return the address without one of the values."""
        return f"?{urlencode([pair for pair in self.pairs if pair != (key, value)])}"

    def since_key(self, key: EventKey, late: timedelta) -> "Query":
        """Return the filters of what is newer than an event, or came late."""
        since = from_ms(key.at_ms) - late
        return replace(self, since=max(since, self.since or since))


def local_text(moment: datetime) -> str:
    """Return a time of the device, as a field for date and time takes it."""
    return f"{moment.astimezone():%Y-%m-%dT%H:%M}"


def read_query(params: QueryParams) -> Query:
    """Read the filters of an address; times without a zone are those of the device.

    Raises:
        QueryError: A value is none of its key.
    """
    review = params.get("review", "")
    if review and review not in REVIEWS:
        raise QueryError("review", review, choice=", ".join(REVIEWS))
    return Query(
        _values(params, "label"),
        _values(params, "source"),
        _moment(params, "since"),
        _moment(params, "until"),
        _score(params.get("min_score", "")),
        review,
    )


def read_key(params: QueryParams, name: str) -> EventKey | None:
    """Read the key of an event, as 1764512345678-12.

    Raises:
        QueryError: It is none.
    """
    text = params.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,14}-[0-9]{1,15}", text):
        raise QueryError("place", text)
    at_ms, _, sequence = text.partition("-")
    return EventKey(int(at_ms), int(sequence))


def read_ids(params: QueryParams) -> list[str]:
    """Read the ids of events.

    Raises:
        QueryError: There are too many.
    """
    ids = params.getlist("id")
    if len(ids) > MOST_IDS:
        raise QueryError("many", "id", most=MOST_IDS)
    return ids


def key_text(key: EventKey) -> str:
    """Return the text that `read_key` reads."""
    return f"{key.at_ms}-{key.sequence}"


def _values(params: QueryParams, key: str) -> list[str]:
    found = list(dict.fromkeys(value for value in params.getlist(key) if value))
    if len(found) > MOST_VALUES:
        raise QueryError("many", key, most=MOST_VALUES)
    if too_long := [each for each in found if len(each) > LONGEST_VALUE]:
        raise QueryError("long", too_long[0], most=LONGEST_VALUE)
    return found


def _moment(params: QueryParams, key: str) -> datetime | None:
    text = params.get(key, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
        if moment.year < 1971 or moment.year > 8999:
            raise ValueError
    except (ValueError, OverflowError, OSError):
        raise QueryError("moment", text) from None
    return moment


def _score(text: str) -> float | None:
    if not text:
        return None
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise QueryError("min_score", text)
    return score
