"""The page Now: the live picture, levels, scores and gaps of each source."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.errors import SoundMonitorError
from monitor.records import Gap, Timed
from monitor.sinks.status_client import ask_recent, query_status
from monitor.sinks.store.queries import open_to_read
from monitor.text import rounded, utc_text, weighted_unit
from monitor.web.context import WebContext
from monitor.web.rendering import render

HOURS = 24
HOUR = timedelta(hours=1)
MOST_GAPS = 50
"""Gaps that are listed, the newest; all are counted."""

_Unheard = tuple[datetime, datetime, str, float]
"""Begin, end, reason, and the seconds in it that were not listened to."""


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""

    async def now(request: Request) -> Response:
        status = await run_in_threadpool(query_status, context.sockets)
        return render(
            request,
            "now.html",
            page="now",
            status=status,
            sources=_sources(context, status),
            units=_units(context),
        )

    async def recent(_: Request) -> Response:
        return await _json(_recent, context)

    async def gaps(_: Request) -> Response:
        return await _json(_gaps, context)

    return [
        Route("/", now),
        Route("/now/recent.json", recent),
        Route("/now/gaps.json", gaps),
    ]


async def _json(read: Callable[[WebContext], Any], context: WebContext) -> Response:
    document = await run_in_threadpool(read, context)
    return JSONResponse(document, headers={"cache-control": "no-store"})


def _sources(context: WebContext, status: dict[str, Any]) -> list[str]:
    """Return the sources of the monitor that runs, else of the configuration."""
    running = [str(each["name"]) for each in status.get("sources", ())]
    return running or [source.name for source in context.config.sources]


def _units(context: WebContext) -> dict[str, str]:
    """Unit of the A-weighted levels of each source."""
    sources = context.config.sources
    return {it.name: weighted_unit(it.level_offset_db) for it in sources}


def _recent(context: WebContext) -> Any:
    """Return the newest levels and columns of each source, if the monitor answers."""
    try:
        return ask_recent(context.sockets)
    except SoundMonitorError:
        return {"sources": []}


def _gaps(context: WebContext) -> dict[str, Any]:
    """Return what was not listened to in the latest day, by source.

    The gaps of a source, and the times in which the monitor did not run, from the hour
    on in which it was first listened to; nothing where the database cannot be read.
    """
    if context.database is None:
        return {}
    now = datetime.now(UTC)
    since = now - timedelta(hours=HOURS)
    lost: dict[str, list[_Unheard]] = {}
    known: dict[str, datetime] = {}
    try:
        with open_to_read(context.database) as reader:
            runs = reader.runs(now)
            for hour in reader.level_hours(since - HOUR, percentiles=False):
                known.setdefault(hour.source, hour.start)
            for timed in reader.gaps(since):
                if isinstance(timed.record, Gap) and timed.start_utc and timed.end_utc:
                    each = _of_gap(timed.record, timed, since)
                    lost.setdefault(timed.record.source, []).append(each)
    except SoundMonitorError:
        return {}  # there is none yet, or the page System says what is wrong
    if not runs:
        return {}
    is_running = query_status(context.sockets)["running"] is not False
    document = {}
    for source in known.keys() | lost.keys():
        first = min(
            [known.get(source, now), *(start for start, *_ in lost.get(source, []))]
        )
        begin = max(since, runs[0][0], first)
        breaks = _breaks(runs, begin, now, is_running=is_running)
        unheard = sorted(lost.get(source, []) + breaks)
        document[source] = _document(unheard, begin, now)
    return document


def _of_gap(gap: Gap, timed: Timed, since: datetime) -> _Unheard:
    assert timed.start_utc is not None
    assert timed.end_utc is not None
    start = max(timed.start_utc, since)
    left_out = timed.left_out_seconds
    whole = (timed.end_utc - start).total_seconds()
    return start, timed.end_utc, gap.reason, whole if left_out is None else left_out


def _breaks(
    runs: Sequence[tuple[datetime, datetime]],
    begin: datetime,
    now: datetime,
    *,
    is_running: bool,
) -> list[_Unheard]:
    """Return the times between `begin` and `now` in which the monitor did not run."""
    starts = [start for start, _ in runs[1:]] + ([] if is_running else [now])
    found = []
    for (_, end), start in zip(runs, starts, strict=False):
        off = max(end, begin)
        if start > off:
            found.append((off, start, "off", (start - off).total_seconds()))
    return found


def _document(
    unheard: Sequence[_Unheard], begin: datetime, now: datetime
) -> dict[str, Any]:
    """Sum up what was not listened to since `begin`, and list the newest of it."""
    period = (now - begin).total_seconds()
    lost = sum(seconds for *_, seconds in unheard)
    return {
        "share": rounded(1 - min(1, lost / period), 6) if period else None,
        "of_seconds": rounded(period, 1),
        "count": len(unheard),
        "newest": [
            {"start": utc_text(start), "seconds": rounded(seconds, 3), "reason": reason}
            for start, _, reason, seconds in reversed(unheard[-MOST_GAPS:])
        ],
    }
