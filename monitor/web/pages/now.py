"""The page Now: the live picture, levels, scores and gaps of each source."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.errors import SoundMonitorError
from monitor.sinks.status_client import ask_recent, query_status, silent_since
from monitor.sinks.store.listened import OFF, Missed, missed_times, read_runs
from monitor.text import rounded, utc_text, weighted_unit
from monitor.web.context import WebContext
from monitor.web.rendering import render

HOURS = 24
DAY = timedelta(days=1)
MOST_GAPS = 50
"""Gaps that are listed, the newest; all are counted."""


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
    now = datetime.now(UTC)
    status = query_status(context.sockets)
    silent = silent_since(status)
    begins: dict[str, datetime] = {}
    by_source: dict[str, list[Missed]] = defaultdict(list)
    try:
        with context.reading() as reader:
            runs = read_runs(reader, now, is_running=silent is not None)
            if runs and silent is None and context.absence != "common.offline":
                now = runs[-1][1]  # recordings are over: there was no more to hear
            since = now - timedelta(hours=HOURS)
            for hour in reader.level_hours(since - DAY, percentiles=False):
                begins.setdefault(hour.source, max(since, hour.start))
            missed = missed_times(reader, begins, since, now, now, silent)
    except SoundMonitorError:
        return {}  # there is none yet, or the page System says what is wrong
    if not runs:
        return {}
    # The first minutes of a source are in no hour yet.
    new = {
        each["name"]: now - timedelta(seconds=each["listened_24h"]["of_seconds"] or 0)
        for each in status.get("sources", ())
        if each["name"] not in begins
    }
    for each in missed:
        if each.reason != OFF and each.source not in begins:
            new[each.source] = min(new.get(each.source, now), each.start)
        by_source[each.source].append(each)
    begins |= {source: max(since, begin) for source, begin in new.items()}
    return {
        source: _document(by_source[source], max(begin, runs[0][0]), now)
        for source, begin in begins.items()
    }


def _document(
    missed: Sequence[Missed], begin: datetime, now: datetime
) -> dict[str, Any]:
    """Sum up what was not listened to since `begin`, and list the newest of it."""
    period = (now - begin).total_seconds()
    found = [each.since(begin) for each in missed if each.end > begin]
    lost = sum(each.seconds for each in found)
    return {
        "share": rounded(1 - min(1, lost / period), 6) if period else None,
        "of_seconds": rounded(period, 1),
        "count": len(found),
        "newest": [
            {
                "start": utc_text(each.start),
                "seconds": rounded(each.seconds, 3),
                "reason": each.reason,
            }
            for each in reversed(found[-MOST_GAPS:])
        ],
    }
