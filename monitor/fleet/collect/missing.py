"""Missing sequence numbers: noticed, asked for, filled or given up."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from monitor.sinks.publish.record import MOST_RANGES, MOST_SEQUENCES

MOST_EPOCHS = 50
"""Databases of a monitor that are known, of which it has one at a time."""

MOST_MISSING_RANGES = 20
"""Missing ranges of an epoch that are asked for one by one; more are one."""

NEAR = 16
"""Missing ranges with no more between them are one of a request."""

logger = logging.getLogger(__name__)

_ALONE = """
SELECT pg_try_advisory_xact_lock(hashtext('sound-monitor fleet missing'))
"""

# Far more databases than any monitor loses: the oldest ones count as never seen.
_TOO_MANY = """
DELETE FROM epochs WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER
            (PARTITION BY monitor ORDER BY last_seen DESC NULLS LAST, id DESC) AS place
        FROM epochs
    ) AS placed WHERE place > %(epochs)s
)
"""

# Many missing ranges of an epoch count as one, from the first to the last.
_JOINED = """
WITH many AS (
    SELECT epoch_id, min(first) AS first, max(last) AS last, max(asked) AS asked,
        max(asked_at) AS asked_at, max(given_up) AS given_up,
        bool_and(missing.given_up IS NOT NULL) AS is_given_up
    FROM missing WHERE filled IS NULL GROUP BY epoch_id HAVING count(*) > %(ranges)s
), others AS (
    DELETE FROM missing USING many
    WHERE missing.epoch_id = many.epoch_id AND missing.first > many.first
        AND filled IS NULL
)
UPDATE missing SET last = many.last, asked = many.asked, asked_at = many.asked_at,
    given_up = CASE WHEN is_given_up THEN many.given_up END
FROM many WHERE missing.epoch_id = many.epoch_id AND missing.first = many.first
"""

_COUNTED = """
UPDATE missing SET amount = counted.amount
FROM (
    SELECT epoch_id, first, (
        SELECT coalesce(sum(upper(each) - lower(each)), 0) FROM unnest(
            int8multirange(int8range(first, last, '[]')) - received) AS each
    ) AS amount
    FROM missing JOIN epochs ON epochs.id = epoch_id WHERE filled IS NULL
) AS counted
WHERE missing.epoch_id = counted.epoch_id AND missing.first = counted.first
    AND missing.amount <> counted.amount
"""

# Several collectors write records out of order: most ranges fill by themselves.
_CLOSED = """
WITH closed AS (
    SELECT epoch_id, first, asked FROM missing WHERE filled IS NULL AND amount = 0
), forgotten AS (
    DELETE FROM missing USING closed
    WHERE missing.epoch_id = closed.epoch_id AND missing.first = closed.first
        AND missing.asked = 0
)
UPDATE missing SET filled = now() FROM closed
WHERE missing.epoch_id = closed.epoch_id AND missing.first = closed.first
    AND missing.asked > 0
"""

_NEW = """
INSERT INTO missing (epoch_id, first, last)
SELECT id, lower(lacking), upper(lacking) - 1 FROM (
    SELECT epochs.id, unnest(
        int8multirange(int8range(1, newest + 1)) - received - coalesce((
            SELECT range_agg(int8range(first, last, '[]')) FROM missing
            WHERE epoch_id = epochs.id AND filled IS NULL
        ), '{}')
    ) AS lacking
    FROM epochs WHERE NOT received @> int8range(1, newest + 1)
) AS every
ON CONFLICT DO NOTHING
"""

# A monitor that is away is not asked; nor can it send again what was in a database
# that it has no more.
_GIVEN_UP = """
UPDATE missing SET given_up = now() FROM epochs
WHERE epochs.id = epoch_id AND filled IS NULL AND given_up IS NULL
    AND asked_at < now() - %(after)s * (1 << asked)
    AND (asked >= %(most)s OR asked >= 2 AND EXISTS (
        SELECT FROM epochs AS next WHERE next.monitor = epochs.monitor
            AND next.previous = epochs.epoch))
RETURNING monitor, amount
"""

_DUE = """
SELECT epoch_id, first, monitor, epoch,
    int8multirange(int8range(first, last, '[]')) - received AS rest
FROM missing JOIN epochs ON epochs.id = epoch_id
WHERE filled IS NULL AND given_up IS NULL AND monitor = ANY(%(monitors)s)
    AND coalesce(asked_at + %(after)s * (1 << asked), since + %(after)s) < now()
    AND (SELECT max(last_seen) FROM epochs AS every
        WHERE every.monitor = epochs.monitor)
        > coalesce(asked_at, now() - interval '3 minutes')
    AND NOT EXISTS (
        -- It answers one request every ten seconds.
        SELECT FROM missing AS other WHERE other.epoch_id = missing.epoch_id
            AND other.filled IS NULL AND other.asked_at > now() - %(after)s / 2)
ORDER BY epoch_id, first
"""

_ASKED = """
UPDATE missing SET asked_at = now(), rest = now_missing,
    asked = CASE WHEN now_missing < rest THEN 1 ELSE asked + 1 END
FROM unnest(%s::integer[], %s::bigint[], %s::bigint[]) AS due (id, begin, now_missing)
WHERE epoch_id = id AND first = begin
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

        What lies between near ranges is asked for too: it is skipped when it comes.
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
    connection: psycopg.Connection,
    after: timedelta,
    monitors: Collection[str],
    most_asked: int,
) -> list[Wanted]:
    """Bring the table `missing` up to date; return what to ask monitors for.

    Args:
        connection: To the fleet's database.
        after: Age of a missing range at which its monitor is asked, and the pause
            after the first time; it doubles with each.
        monitors: Those that can be asked: another broker may have the others.
        most_asked: Times that one is asked in vain before a range is given up.
    """
    values = {
        "after": after,
        "monitors": list(monitors),
        "most": most_asked,
        "epochs": MOST_EPOCHS,
        "ranges": MOST_MISSING_RANGES,
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
        _log_given_up(connection.execute(_GIVEN_UP, values).fetchall())
        wanted: dict[str, Wanted] = {}
        asked: list[tuple[int, int, int]] = []
        for epoch_id, first, monitor, epoch, rest in connection.execute(_DUE, values):
            # It answers one request at a time.
            request = wanted.setdefault(monitor, Wanted(monitor, epoch))
            if request.epoch != epoch:
                continue
            fitting = [request.add(each.lower, each.upper - 1) for each in rest]
            if fitting and fitting[0]:
                amount = sum(each.upper - each.lower for each in rest)
                asked.append((epoch_id, first, amount))
        if asked:
            columns = [list(column) for column in zip(*asked, strict=True)]
            connection.execute(_ASKED, columns)
    return list(wanted.values())


def _log_given_up(given_up: Sequence[tuple[str, int]]) -> None:
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
