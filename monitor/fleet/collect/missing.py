"""Missing sequence numbers: noticed, asked for, filled or given up."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from monitor.sinks.publish.record import MOST_RANGES, MOST_SEQUENCES

MOST_ASKED = 6
"""Times that a monitor is asked in vain before a hole is given up."""

MOST_STREAMS = 50
"""Databases of a monitor that are known, of which it has one at a time."""

MOST_HOLES = 20
"""Holes of a stream that are asked for one by one; more are one."""

NEAR = 16
"""Holes with no more between them are one range of a request."""

logger = logging.getLogger(__name__)

_ALONE = """
SELECT pg_try_advisory_xact_lock(hashtext('sound-monitor fleet missing'))
"""

# Far more databases than any monitor loses: the oldest ones count as never seen.
_TOO_MANY = """
DELETE FROM streams WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER
            (PARTITION BY monitor ORDER BY heard DESC NULLS LAST, id DESC) AS place
        FROM streams
    ) AS placed WHERE place > %(streams)s
)
"""

# Many holes of a stream count as one, from the first to the last.
_JOINED = """
WITH many AS (
    SELECT stream, min(first) AS first, max(last) AS last, max(asked) AS asked,
        max(asked_at) AS asked_at, max(given_up) AS given_up,
        bool_and(missing.given_up IS NOT NULL) AS is_given_up
    FROM missing WHERE filled IS NULL GROUP BY stream HAVING count(*) > %(holes)s
), others AS (
    DELETE FROM missing USING many
    WHERE missing.stream = many.stream AND missing.first > many.first
        AND filled IS NULL
)
UPDATE missing SET last = many.last, asked = many.asked, asked_at = many.asked_at,
    given_up = CASE WHEN is_given_up THEN many.given_up END
FROM many WHERE missing.stream = many.stream AND missing.first = many.first
"""

_COUNTED = """
UPDATE missing SET amount = counted.amount
FROM (
    SELECT stream, first, (
        SELECT coalesce(sum(upper(each) - lower(each)), 0) FROM unnest(
            int8multirange(int8range(first, last, '[]')) - received) AS each
    ) AS amount
    FROM missing JOIN streams ON streams.id = stream WHERE filled IS NULL
) AS counted
WHERE missing.stream = counted.stream AND missing.first = counted.first
    AND missing.amount <> counted.amount
"""

# Several collectors write records out of order: most holes close by themselves.
_CLOSED = """
WITH closed AS (
    SELECT stream, first, asked FROM missing WHERE filled IS NULL AND amount = 0
), forgotten AS (
    DELETE FROM missing USING closed
    WHERE missing.stream = closed.stream AND missing.first = closed.first
        AND missing.asked = 0
)
UPDATE missing SET filled = now() FROM closed
WHERE missing.stream = closed.stream AND missing.first = closed.first
    AND missing.asked > 0
"""

_NEW = """
INSERT INTO missing (stream, first, last)
SELECT id, lower(hole), upper(hole) - 1 FROM (
    SELECT streams.id, unnest(
        int8multirange(int8range(1, newest + 1)) - received - coalesce((
            SELECT range_agg(int8range(first, last, '[]')) FROM missing
            WHERE stream = streams.id AND filled IS NULL
        ), '{}')
    ) AS hole
    FROM streams WHERE NOT received @> int8range(1, newest + 1)
) AS holes
ON CONFLICT DO NOTHING
"""

# A monitor that is away is not asked; nor can it send again what was in a database
# that it has no more.
_GIVEN_UP = """
UPDATE missing SET given_up = now() FROM streams
WHERE streams.id = stream AND filled IS NULL AND given_up IS NULL
    AND asked_at < now() - %(after)s * (1 << asked)
    AND (asked >= %(most)s OR asked >= 2 AND EXISTS (
        SELECT FROM streams AS next WHERE next.monitor = streams.monitor
            AND next.previous = streams.epoch))
RETURNING monitor, amount
"""

_DUE = """
SELECT stream, first, monitor, epoch,
    int8multirange(int8range(first, last, '[]')) - received AS rest
FROM missing JOIN streams ON streams.id = stream
WHERE filled IS NULL AND given_up IS NULL AND monitor = ANY(%(monitors)s)
    AND coalesce(asked_at + %(after)s * (1 << asked), since + %(after)s) < now()
    AND (SELECT max(heard) FROM streams AS every
        WHERE every.monitor = streams.monitor)
        > coalesce(asked_at, now() - interval '3 minutes')
    AND NOT EXISTS (
        -- It answers one request every ten seconds.
        SELECT FROM missing AS other WHERE other.stream = missing.stream
            AND other.filled IS NULL AND other.asked_at > now() - %(after)s / 2)
ORDER BY stream, first
"""

_ASKED = """
UPDATE missing SET asked_at = now(), rest = now_missing,
    asked = CASE WHEN now_missing < rest THEN 1 ELSE asked + 1 END
FROM unnest(%s::integer[], %s::bigint[], %s::bigint[]) AS due (id, begin, now_missing)
WHERE stream = id AND first = begin
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to a monitor."""

    monitor: str
    epoch: str
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First and last sequence numbers, both included, in order."""

    def add(self, first: int, last: int) -> bool:
        """Ask for more, as far as there is room; return False if there was none.

        What lies between near holes is asked for too: it is skipped when it comes.
        """
        is_near = bool(self.ranges) and first - self.ranges[-1][1] <= NEAR
        others = self.ranges[:-1] if is_near else self.ranges
        begin = self.ranges[-1][0] if is_near else first
        room = MOST_SEQUENCES - sum(end - start + 1 for start, end in others)
        if begin + room <= first or len(others) == MOST_RANGES:
            return False
        self.ranges[len(others) :] = [(begin, min(last, begin + room - 1))]
        return True


def look_for_missing(
    connection: psycopg.Connection, after: timedelta, monitors: Collection[str]
) -> list[Wanted]:
    """Bring the table `missing` up to date; return what to ask monitors for.

    Args:
        connection: To the fleet's database.
        after: Age of a hole for which its monitor is asked, and the pause after the
            first time; it doubles with each.
        monitors: Those that can be asked: another broker may have the others.
    """
    values = {
        "after": after,
        "monitors": list(monitors),
        "most": MOST_ASKED,
        "streams": MOST_STREAMS,
        "holes": MOST_HOLES,
    }
    with connection.transaction():
        (is_alone,) = connection.execute(_ALONE).fetchone() or (False,)
        if not is_alone:
            return []
        connection.execute(_TOO_MANY, values)
        connection.execute(_NEW)
        connection.execute(_JOINED, values)
        connection.execute(_COUNTED)
        connection.execute(_CLOSED)
        _tell(connection.execute(_GIVEN_UP, values).fetchall())
        wanted: dict[str, Wanted] = {}
        asked: list[tuple[int, int, int]] = []
        for stream, first, monitor, epoch, rest in connection.execute(_DUE, values):
            # It answers one request at a time.
            request = wanted.setdefault(monitor, Wanted(monitor, epoch))
            if request.epoch != epoch:
                continue
            fitting = [request.add(each.lower, each.upper - 1) for each in rest]
            if fitting and fitting[0]:
                amount = sum(each.upper - each.lower for each in rest)
                asked.append((stream, first, amount))
        if asked:
            columns = [list(column) for column in zip(*asked, strict=True)]
            connection.execute(_ASKED, columns)
    return list(wanted.values())


def _tell(given_up: Sequence[tuple[str, int]]) -> None:
    counts: Counter[str] = Counter()
    for monitor, count in given_up:
        counts[monitor] += count
    for monitor, count in counts.items():
        logger.warning(
            "%d records of %s are missing: it does not send them again, and is not "
            "asked any more",
            count,
            monitor,
        )
