"""Pages of events: chosen by filters, the newest first, read by key and not by offset.

A page of a million events costs as little as one of a hundred: its keys come from an
index that holds all that it is chosen by, and only its own rows are read.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice, product
from typing import NamedTuple

from monitor.records import Timed
from monitor.sinks.store.records import (
    LONGEST_NAME,
    read_occurrence,
    read_rows,
    select,
    to_ms,
)
from monitor.sinks.store.reviews import VERDICTS, Review, review_of

REVIEWS = ("no", "yes", *VERDICTS)

SCORE_AT_LEAST = "max(peak_score, round(peak_score, 2)) >= ?"
"""Lists show two digits: an event that they show as 0.99 reaches 0.99."""


class EventKey(NamedTuple):
    """The place of an event in the list of all."""

    at_ms: int
    """Its start, or when it came if unknown: milliseconds since 1970, UTC."""

    sequence: int


@dataclass(frozen=True, slots=True)
class EventFilters:
    """The events of a list; what is empty or None chooses all."""

    labels: Sequence[str] = ()
    sources: Sequence[str] = ()
    since: datetime | None = None
    """Events that began before are left out."""

    until: datetime | None = None
    """Events that began then or later are left out."""

    min_score: float | None = None
    """Least peak score."""

    review: str = ""
    """One of `REVIEWS`: without a verdict, with any, or with this one."""

    ids: Sequence[str] = ()
    """The events of these ids alone."""

    @property
    def has_verdict(self) -> bool:
        """True: only events with a verdict are chosen."""
        return self.review not in ("", "no")


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event of a list, or the onset of one that is going on."""

    key: EventKey
    timed: Timed
    review: Review | None
    """None: nobody has said anything about it."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of a list of events."""

    events: Sequence[ListedEvent]
    """The newest first; invalid rows are left out."""

    oldest: EventKey | None
    """Key of the last row; None: the page is empty."""

    has_more: bool
    """True if older events follow."""


def read_page(
    connection: sqlite3.Connection,
    filters: EventFilters,
    before_key: EventKey | None,
    limit: int,
) -> EventPage:
    """Read the page of the events before a key; see `EventFilters`."""
    bounds = list(_bounds(filters, before_key))
    pieces = [
        _keys(connection, [choice, *bounds], limit + 1)
        for choice in _choices(connection, filters)
    ]
    found = list(islice(merge(*pieces, reverse=True), limit + 1))
    keys = found[:limit]
    events = tuple(_read(connection, keys))
    return EventPage(events, keys[-1] if keys else None, len(found) > limit)


_Condition = tuple[str, Sequence[object]]
"""A condition in SQL, and its values."""


def _bounds(filters: EventFilters, before: EventKey | None) -> Iterator[_Condition]:
    """Return the conditions that every index of the page can check."""
    if filters.since is not None:
        yield "events.at_ms >= ?", [to_ms(filters.since)]
    if filters.until is not None:
        yield "events.at_ms < ?", [to_ms(filters.until)]
    if before is not None:
        yield "(events.at_ms, events.sequence) < (?, ?)", before
    if filters.min_score is not None:
        yield SCORE_AT_LEAST, [filters.min_score]
    if filters.review == "no":
        yield (
            "NOT EXISTS (SELECT 1 FROM reviews WHERE verdict IS NOT NULL "
            "AND event_id = events.id)",
            [],
        )


_REVIEWED = "reviews CROSS JOIN events ON events.id = reviews.event_id"
"""The reviews are read first: they are few, as long as people write them."""

_WANTED = "json_each(?) AS wanted CROSS JOIN events ON events.id = wanted.value"
"""So are the ids, for the planner takes the index of times as soon as it may."""


def _choices(
    connection: sqlite3.Connection, filters: EventFilters
) -> Iterator[_Condition]:
    """Return the selections whose union is chosen, each a piece of one index."""
    sources = _source_keys(connection, filters.sources)
    if filters.ids or filters.has_verdict:
        yield _few(filters, sources)
    elif filters.labels:
        # Unknown sources leave none, and so no events.
        for label, source in product(dict.fromkeys(filters.labels), sources):
            yield "events WHERE events.label = ? AND events.source = ?", [label, source]
    elif filters.sources:
        for source in sources:
            yield "events WHERE events.source = ?", [source]
    else:
        yield "events WHERE true", []


def _few(filters: EventFilters, sources: list[object]) -> _Condition:
    """Return the selection of events that were reviewed, or of those with some ids."""
    has_verdict, verdicts = "verdict = ?", [filters.review]
    if filters.review == "yes":
        has_verdict, verdicts = "verdict IS NOT NULL", []
    where, values = f"{_REVIEWED} WHERE reviews.{has_verdict}", verdicts
    if filters.ids:
        ids = json.dumps(list(dict.fromkeys(filters.ids)))
        where, values = f"{_WANTED} WHERE true", [ids]
        if filters.has_verdict:
            where += (
                " AND EXISTS (SELECT 1 FROM reviews "
                f"WHERE event_id = events.id AND {has_verdict})"
            )
            values += verdicts
    if filters.labels:
        where += " AND events.label IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(list(filters.labels)))
    if filters.sources:
        where += " AND events.source IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(sources))
    return where, values


def labels_of_events(connection: sqlite3.Connection) -> list[str]:
    """Return the labels of all events, by one step in an index for each."""
    found = connection.execute(
        "WITH RECURSIVE found (label) AS (SELECT min(label) FROM events UNION ALL "
        "SELECT (SELECT min(label) FROM events WHERE label > found.label) FROM found "
        "WHERE label IS NOT NULL) SELECT label FROM found WHERE label IS NOT NULL"
    )
    return [str(label) for (label,) in found if len(str(label)) <= LONGEST_NAME]


def _source_keys(connection: sqlite3.Connection, names: Sequence[str]) -> list[object]:
    found = connection.execute("SELECT id, name FROM sources")
    return [key for key, name in found if not names or name in names]


def _keys(
    connection: sqlite3.Connection, conditions: Sequence[_Condition], limit: int
) -> list[EventKey]:
    """Read the newest keys of one selection."""
    where = " AND ".join(condition for condition, _ in conditions)
    # Names and conditions are ours; values of users are bound.
    found = connection.execute(
        f"SELECT events.at_ms, events.sequence FROM {where} "
        "ORDER BY events.at_ms DESC, events.sequence DESC LIMIT ?",
        [*(value for _, values in conditions for value in values), limit],
    )
    return [EventKey(*row) for row in found]


def _read(
    connection: sqlite3.Connection, keys: Sequence[EventKey]
) -> Iterator[ListedEvent]:
    rows = select(
        connection,
        "SELECT * FROM events_read WHERE sequence IN (SELECT value FROM json_each(?)) "
        "ORDER BY at_ms DESC, sequence DESC",
        [json.dumps([key.sequence for key in keys])],
    )
    return read_rows(rows, _listed)


def _listed(row: sqlite3.Row) -> ListedEvent:
    key = EventKey(row["at_ms"], row["sequence"])
    return ListedEvent(key, read_occurrence(row), review_of(row))
