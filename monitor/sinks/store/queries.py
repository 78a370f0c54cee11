"""Reading the database, for commands and reports."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.errors import StoreError
from monitor.records import EVERY_SOURCE, Timed
from monitor.sinks.store.database import Database
from monitor.sinks.store.event_pages import (
    SCORE_AT_LEAST,
    EventFilters,
    EventKey,
    EventPage,
    labels_of_events,
    read_page,
)
from monitor.sinks.store.frame_rows import MAX_ROW_MS
from monitor.sinks.store.records import (
    Session,
    read_gap,
    read_health,
    read_occurrence,
    read_rows,
    select,
    to_ms,
)
from monitor.sinks.store.reviews import (
    Review,
    count_verdicts,
    locked_events,
    read_reviews,
)
from monitor.sinks.store.score_curves import ScoreCurve, read_curve

# `events` and `report` do without numpy.
if TYPE_CHECKING:
    from monitor.sinks.alerts.alert import AlertState
    from monitor.sinks.alerts.listing import AlertPage, Unanswered
    from monitor.sinks.store.embeddings import EmbeddingRow
    from monitor.sinks.store.level_hours import LevelHour
    from monitor.sinks.store.scores import ScoreRow


class Reader:
    """Reads a database.  Used by one thread.

    Times are UTC.  A time range is from `since` to `until`, and None is open; records
    that overlap it belong to it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read from a connection, which stays open."""
        self._connection = connection

    def execute(self, query: str, values: Mapping[str, object]) -> sqlite3.Cursor:
        """Run a query of a module beside this one."""
        return self._connection.execute(query, values)

    def events(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        labels: Sequence[str] = (),
        sources: Sequence[str] = (),
        min_score: float | None = None,
    ) -> Iterator[Timed]:
        """Return events, and onsets of events that are going on, by their start.

        Args:
            since: Events that ended before are left out.
            until: Events that began then or later are left out.
            labels: Labels of the events; none: all.
            sources: Sources of the events; none: all.
            min_score: Least peak score.
        """
        query = _Query("events_read", until, sources)
        query.ends_after(since, "end_reason IS NULL")
        query.where_in("label", labels)
        if min_score is not None:
            query.where(SCORE_AT_LEAST, min_score)
        return read_rows(query.run(self._connection), read_occurrence)

    def event_counts(self, since: datetime) -> dict[str, dict[str, int]]:
        """Return the number of events that began since then, by source and label."""
        counts: dict[str, dict[str, int]] = {}
        for source, label, count in self._connection.execute(
            "SELECT source_name, label, count(*) FROM events_read "
            "WHERE at_ms >= ? AND end_reason IS NOT NULL "
            "GROUP BY source_name, label",
            (to_ms(since),),
        ):
            counts.setdefault(source, {})[label] = count
        return counts

    def newest_label(self, source: str) -> str | None:
        """Return the label of the latest event or onset of a source."""
        row = self._connection.execute(
            "SELECT label FROM events_read WHERE source_name = ? "
            "ORDER BY at_ms DESC LIMIT 1",
            (source,),
        ).fetchone()
        return None if row is None else str(row[0])

    def events_page(
        self,
        filters: EventFilters,
        before_key: EventKey | None = None,
        limit: int = 50,
    ) -> EventPage:
        """Return a page of events, the newest first, with their reviews.

        Args:
            filters: The events of the list.
            before_key: The page is of the newest events before this one.
            limit: Most events of the page.
        """
        return read_page(self._connection, filters, before_key, limit)

    def alerts_page(
        self,
        *,
        state: "AlertState | None" = None,
        rule: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> "AlertPage":
        """Return a page of alerts, the newest first; see `read_alerts`."""
        from monitor.sinks.alerts.listing import read_alerts

        return read_alerts(
            self._connection, state=state, rule=rule, before=before, limit=limit
        )

    def unanswered(self) -> "dict[str, Unanswered]":
        """Return the endpoints that do not take their alerts; see `Unanswered`."""
        from monitor.sinks.alerts.listing import read_unanswered

        return read_unanswered(self._connection)

    def reviews(self) -> dict[str, Review]:
        """Return all reviews by the id of their event."""
        return read_reviews(self._connection)

    def verdicts(self) -> dict[str, Review]:
        """Return the reviews with a verdict by the id of their event."""
        return {it: each for it, each in self.reviews().items() if each.verdict}

    def locked_events(self) -> frozenset[str]:
        """Return the ids of the events that are locked."""
        return locked_events(self._connection)

    def event_labels(self) -> list[str]:
        """Return the labels of all events, in the time of their number."""
        return labels_of_events(self._connection)

    def sources(self) -> list[str]:
        """Return the names of all sources, by name."""
        found = self._connection.execute("SELECT name FROM sources ORDER BY name")
        return [str(name) for (name,) in found]

    def verdict_counts(self, label: str) -> dict[str, int]:
        """Return the number of events of a label with each verdict."""
        return count_verdicts(self._connection, label)

    def score_curve(
        self, source: str, label: str, since: datetime, until: datetime
    ) -> ScoreCurve | None:
        """Return the scores of a label over a time; None: none are stored."""
        return read_curve(self._connection, source, label, since, until)

    def gaps(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Timed]:
        """Return gaps, by their start."""
        query = _Query("gaps_read", until)
        query.ends_after(since)
        return read_rows(query.run(self._connection), read_gap)

    def health(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        sources: Sequence[str] = (),
    ) -> Iterator[Timed]:
        """Return health problems, by their start; raised are those that go on."""
        everywhere = [*sources, EVERY_SOURCE] if sources else []
        query = _Query("health_read", until, everywhere)
        query.ends_after(since, "state = 'raised'")
        return read_rows(query.run(self._connection), read_health)

    def level_hours(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        sources: Sequence[str] = (),
        percentiles: bool = True,
    ) -> "Iterator[LevelHour]":
        """Return the levels of the hours that begin in a time range, in order.

        Without `percentiles` their histograms and third octaves are left out.
        """
        from monitor.sinks.store.level_hours import read_level_hour

        query = _Query("level_hours_read", until, sources, "hour_ms", "id")
        if since is not None:
            query.where("hour_ms >= ?", to_ms(since))
        read = partial(read_level_hour, percentiles=percentiles)
        return read_rows(query.run(self._connection), read)

    def score_rows(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> "Iterator[ScoreRow]":
        """Return rows of scores, by their start."""
        from monitor.sinks.store.scores import read_score_row

        query = _Query("scores_read", until, (), "start_ms", "id")
        query.reaches_beyond(since)
        return read_rows(query.run(self._connection), read_score_row)

    def embedding_rows(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> "Iterator[EmbeddingRow]":
        """Return rows of embeddings, by their start; see `read_embeddings`."""
        from monitor.sinks.store.embeddings import read_embedding_row

        query = _Query("embeddings_read", until, (), "start_ms", "id")
        query.reaches_beyond(since)
        return read_rows(query.run(self._connection), read_embedding_row)

    def labels(self) -> list[str]:
        """Return the labels of all events, and those that any session scored.

        Raises:
            StoreError: A session is damaged.
        """
        labels = set(self.event_labels())
        labels.update(*(session.labels for session in self.sessions().values()))
        return sorted(labels)

    def sessions(self) -> dict[str, Session]:
        """Return the runs of the monitor, by the name that is in the rows of scores.

        Raises:
            StoreError: One of them is damaged.
        """
        found = self._connection.execute(
            "SELECT session, model, labels, sample_rate, embedding_id FROM sessions"
        )
        try:
            return {
                name: Session(name, model, _labels(labels), rate, embedding_id)
                for name, model, labels, rate, embedding_id in found
            }
        except (ValueError, RecursionError) as error:
            raise StoreError(f"a session of the database is damaged: {error}") from None


@contextmanager
def open_to_read(path: Path) -> Iterator[Reader]:
    """Open the database at `path`, and write nothing; errors become sentences.

    Raises:
        StoreError: It is not there, is damaged, or belongs to another version or to
            another program.
    """
    if not path.exists():
        raise StoreError(f"there is no database {path}: 'run' makes it")
    database = Database(path)
    # The last writer takes the log away.  Without one a reader would have to make its
    # index, which it cannot in a folder that is mounted read-only.
    log = Path(f"{path}-wal")
    immutable = not log.exists() and not os.access(path.parent, os.W_OK)
    try:
        connection = database.connect(read_only=True, immutable=immutable)
        try:
            database.check_readable(connection)
            yield Reader(connection)
        finally:
            connection.close()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if immutable and log.exists():
            raise _has_begun(path) from None
        raise database.failure(error) from None
    if immutable and log.exists():
        raise _has_begun(path)


def _has_begun(path: Path) -> StoreError:
    """What was read without a log may be half of before, half of after."""
    return StoreError(f"the monitor has just opened the database {path}: try again")


class _Query:
    """A SELECT of a view, put together from conditions."""

    def __init__(
        self,
        view: str,
        until: datetime | None,
        sources: Sequence[str] = (),
        *order: str,
    ) -> None:
        self._view = view
        self._order = order or ("at_ms",)
        self._conditions: list[str] = []
        self._values: list[object] = []
        if until is not None:
            self.where(f"{self._order[0]} < ?", to_ms(until))
        self.where_in("source_name", sources)

    def where(self, condition: str, *values: object) -> None:
        self._conditions.append(condition)
        self._values += values

    def where_in(self, column: str, choice: Sequence[str]) -> None:
        if choice:
            places = ", ".join("?" * len(choice))
            self.where(f"{column} IN ({places})", *choice)

    def ends_after(self, since: datetime | None, is_going_on: str = "false") -> None:
        if since is not None:
            since_ms = to_ms(since)
            self.where(f"(at_ms >= ? OR end_ms > ? OR {is_going_on})", *[since_ms] * 2)

    def reaches_beyond(self, since: datetime | None) -> None:
        """Choose the rows of frames that end after a time."""
        if since is not None:
            self.where("start_ms > ?", to_ms(since) - MAX_ROW_MS)
            self.where("end_ms > ?", to_ms(since))

    def run(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        conditions = " AND ".join(self._conditions) or "true"
        # Names and conditions are ours; values of users are bound.
        return select(
            connection,
            f"SELECT * FROM {self._view} WHERE {conditions} "
            f"ORDER BY {', '.join(self._order)}",
            self._values,
        )


def _labels(text: str) -> tuple[str, ...]:
    labels = json.loads(text)
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise ValueError("its labels are no list of names")
    return tuple(labels)
