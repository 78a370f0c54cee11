"""The status of a fleet, from its database: who listens, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from monitor.errors import StoreError
from monitor.fleet.collect.database import connect
from monitor.text import (
    counted,
    duration,
    first_line,
    local_time,
    percent,
    printable,
    rounded,
    utc_text,
)
from monitor.web.fleet.queries import (
    CLOCK_SECONDS,
    FleetReader,
    Row,
    check_version,
    deaf_since,
    listened,
)

SCHEMA = 1

MOST_SHOWN, MOST_LISTED = 20, 1000

Document = dict[str, Any]


def read_status(url: str) -> Document:
    """Read the status of the fleet in a database; times are UTC.

    Raises:
        StoreError: The database is away, or holds no fleet of this version.
    """
    try:
        with connect(url) as connection, connection.transaction():
            connection.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            )
            check_version(connection)
            return _read(connection)
    except psycopg.Error as error:
        raise StoreError(
            f"the fleet's database cannot be read: {first_line(error)}"
        ) from None


def _read(connection: psycopg.Connection) -> Document:
    reader = FleetReader(connection)
    monitors = reader.monitors()
    now = datetime.now(UTC)
    return {
        "schema": SCHEMA,
        "time": utc_text(now),
        "sentence": sentence_of(monitors),
        "listened_24h": rounded(listened(monitors), 6),
        "deaf": sum(it["deaf"] is not None for it in monitors),
        "monitors": [_plain(it) for it in monitors],
        "missing": [_plain(it) for it in reader.missing(MOST_LISTED)],
        "refused": [_plain(it) for it in reader.refused(MOST_LISTED)],
    }


def sentence_of(monitors: Sequence[Row]) -> str:
    """Say how much the fleet has listened, and how many monitors are deaf."""
    if not monitors:
        return "no monitor has sent anything yet"
    share = percent(listened(monitors))
    deaf, since = sum(it["deaf"] is not None for it in monitors), deaf_since(monitors)
    state = f"all {len(monitors)} listen" if len(monitors) > 1 else "it listens"
    if since is not None:
        state = f"{deaf} of {len(monitors)} deaf since {_when(since)}"
    return f"fleet listened {share} of the last day, {state}"


def _when(moment: datetime) -> str:
    """Local time; of another day, with its date."""
    local = moment.astimezone()
    if local.date() == datetime.now().astimezone().date():
        return f"{local:%H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"


def _plain(row: Mapping[str, Any]) -> Document:
    return {
        key: utc_text(value) if isinstance(value, datetime) else _number(value)
        for key, value in row.items()
    }


def _number(value: object) -> object:
    return rounded(value, 6) if isinstance(value, float) else value


def status_lines(document: Document) -> Iterator[str]:
    """The status for people: what is wrong, a line each."""
    monitors = document["monitors"]
    yield document["sentence"]
    yield from _shown([_deaf(it) for it in monitors if it["deaf"] is not None])
    yield from _shown(
        [line for it in monitors if (line := _clock(it["clock_ahead_seconds"], it))]
    )
    yield from _shown([_health(it, each) for it in monitors for each in it["health"]])
    yield from _shown(
        [
            f"{it['monitor']}: {counted(it[key], 'record')} {text}"
            for it in monitors
            for key, text in (
                ("missing", "missing, and asked for"),
                ("given_up", "missing for good"),
            )
            if it[key]
        ]
    )
    yield from _shown(
        [
            f"{it['monitor'] or 'unknown monitors'}: "
            f"{counted(it['count'], 'message')} refused ({it['reason']}), the last at "
            f"{_local(it['last'])}: {it['detail']}"
            for it in document["refused"]
        ]
    )


def _shown(lines: list[str]) -> Iterator[str]:
    yield from lines[:MOST_SHOWN]
    if len(lines) > MOST_SHOWN:
        yield f"and {len(lines) - MOST_SHOWN} more; see --json"


def _deaf(monitor: Document) -> str:
    site = f" ({monitor['site']})" if monitor["site"] else ""
    since = _local(monitor["deaf_since"])
    return f"{monitor['monitor']}{site}: {monitor['deaf']} since {since}"


def _clock(ahead: float | None, monitor: Document) -> str:
    if ahead is None or abs(ahead) <= CLOCK_SECONDS:
        return ""
    name = monitor["monitor"]
    if ahead > 0:
        return f"{name}: the clock is {duration(ahead)} ahead"
    return f"{name}: the clock is {duration(-ahead)} behind, or its records come late"


def _health(monitor: Document, trouble: Document) -> str:
    source = "" if trouble["source"] == "*" else f" {trouble['source']}:"
    detail = printable(str(trouble.get("detail") or ""))
    return f"{monitor['monitor']}:{source} {trouble['kind']}{detail and f': {detail}'}"


def _local(text: str) -> str:
    return local_time(datetime.fromisoformat(text))[:-2]
