"""The page Now: the live picture, levels, scores and gaps of each source."""

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.errors import SoundMonitorError
from monitor.records import Gap
from monitor.sinks.encoding import encode
from monitor.sinks.status_client import ask_recent, query_status
from monitor.sinks.store.queries import open_to_read
from monitor.text import weighted_unit
from monitor.web.context import WebContext
from monitor.web.rendering import render

GAP_HOURS = 24
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
        document = await run_in_threadpool(_recent, context)
        return JSONResponse(document, headers={"cache-control": "no-store"})

    return [Route("/", now), Route("/now/recent.json", recent)]


def _sources(context: WebContext, status: dict[str, Any]) -> list[str]:
    """Return the sources of the monitor that runs, else of the configuration."""
    running = [str(each["name"]) for each in status.get("sources", ())]
    return running or [source.name for source in context.config.sources]


def _units(context: WebContext) -> dict[str, str]:
    """Unit of the A-weighted levels of each source."""
    sources = context.config.sources
    return {it.name: weighted_unit(it.level_offset_db) for it in sources}


def _recent(context: WebContext) -> dict[str, Any]:
    """Return what the page shows of the time before it was opened.

    That are the newest levels and columns of each source, and the gaps of a day; of
    both, nothing where it cannot be read.
    """
    try:
        document = ask_recent(context.sockets)
    except SoundMonitorError:
        document = {}
    counts, newest = _gaps(context)
    return {"sources": document.get("sources", []), "gaps": newest, "counts": counts}


def _gaps(context: WebContext) -> tuple[dict[str, int], list[dict[str, object]]]:
    """Count the gaps of the latest day by source, and list the newest."""
    counts: dict[str, int] = {}
    newest: deque[dict[str, object]] = deque(maxlen=MOST_GAPS)
    if context.database is None:
        return counts, []
    since = datetime.now(UTC) - timedelta(hours=GAP_HOURS)
    try:
        with open_to_read(context.database) as reader:
            for timed in reader.gaps(since):
                document = encode(timed)
                if isinstance(timed.record, Gap) and document is not None:
                    source = timed.record.source
                    counts[source] = counts.get(source, 0) + 1
                    keys = ("id", "source", "start", "end", "end_reason")
                    newest.append({key: document[key] for key in keys})
    except SoundMonitorError:
        pass  # there is none yet, or the page System says what is wrong
    return counts, list(newest)[::-1]
