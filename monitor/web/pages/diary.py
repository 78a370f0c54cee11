"""The page Diary: incidents, and what they rest on, fit to be printed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.sinks.status_client import query_status, silent_since
from monitor.sinks.store.level_figures import LEAST_COVERAGE, SpanLevels, day_levels
from monitor.sinks.store.noise_diary import (
    PAUSE,
    Hours,
    Incident,
    NoiseDiary,
    day_totals,
    diary_csv,
    noise_diary,
)
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.selection import Selection
from monitor.web.context import WebContext
from monitor.web.fields import Fields
from monitor.web.pages.history import source_names
from monitor.web.rendering import render

MOST_DAYS = 366
MOST_LEVEL_DAYS = 92
"""Days of which the page lists the levels; the page Day has those of a year."""

MOST_ROWS = 500
"""Totals, incidents and gaps that the page shows, the newest; the file has all."""

LONGEST_TEXT = 100
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """What the diary is of."""

    first: date
    last: date
    source: str
    """Empty, as the label: all."""

    label: str
    pause_minutes: int
    hours: Hours | None
    """Only what sounds in these hours; None: all."""

    shortest_seconds: int
    """Incidents that sound for less are left out."""

    place: str
    name: str
    """Free text that is printed on top: where, and who keeps the diary."""

    def selection(self, silent: Mapping[str, datetime] | None = None) -> Selection:
        """Return the part of the past that it is of, with all labels."""
        sources = [self.source] if self.source else []
        now = datetime.now(UTC)
        return Selection(self.first, self.last, now, sources=sources, silent=silent)

    def has(self, incident: Incident) -> bool:
        """Return True if an incident is chosen."""
        return (
            self.label in ("", incident.label)
            and incident.sounding_seconds >= self.shortest_seconds
        )

    @property
    def query(self) -> str:
        """The same, as the query of an address."""
        return urlencode(
            {
                "from": self.first,
                "to": self.last,
                "source": self.source,
                "label": self.label,
                "pause": self.pause_minutes,
                "after": "" if self.hours is None else self.hours.begin,
                "before": "" if self.hours is None else self.hours.end,
                "shortest": self.shortest_seconds,
                "place": self.place,
                "name": self.name,
            }
        )


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""

    async def diary(request: Request) -> Response:
        choice, problem = _choice(request)
        values = {
            "choice": choice,
            "problem": problem,
            "sources": [choice.source],
            "labels": [choice.label],
        }
        if not problem:
            values |= await run_in_threadpool(_read, context, choice)
        return render(
            request,
            "diary.html",
            page="diary",
            status_code=400 if problem else 200,
            is_large=True,
            **values,
        )

    async def table(request: Request) -> Response:
        choice, problem = _choice(request)
        if problem:
            return PlainTextResponse(problem, 400)
        text = await run_in_threadpool(_table, context, choice)
        name = f"noise-diary-{choice.first}-{choice.last}.csv"
        return Response(
            text,
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    return [Route("/diary", diary), Route("/diary.csv", table)]


def _choice(request: Request) -> tuple[Choice, str]:
    """Read the form, and a sentence about a field that is wrong; empty: none is."""
    fields = Fields(request, "diary")
    last = fields.day("to", datetime.now().astimezone().date())
    first = fields.day("from", last - timedelta(days=6))
    if first > last:
        fields.reject("from", "order", value=first, last=last)
    elif (last - first).days >= MOST_DAYS:
        fields.reject("from", "long", most=MOST_DAYS)
    pause = fields.number("pause", 1440)
    after, before = fields.number("after", 24), fields.number("before", 24)
    hours = None
    if after is not None and before is not None:
        hours = Hours(after % 24, before % 24)
    elif after != before:
        fields.reject("before" if before is None else "after", "pair")
    choice = Choice(
        first,
        last,
        fields.text("source", LONGEST_NAME),
        fields.text("label", LONGEST_NAME),
        PAUSE // timedelta(minutes=1) if pause is None else pause,
        hours if hours and hours.begin != hours.end else None,
        fields.number("shortest", 9999) or 0,
        fields.text("place", LONGEST_TEXT),
        fields.text("name", LONGEST_TEXT),
    )
    return choice, fields.problem


def _diary(context: WebContext, reader: Reader, choice: Choice) -> NoiseDiary:
    """Return the diary with the incidents of all labels and durations; blocking."""
    silent = silent_since(query_status(context.sockets))
    pause = timedelta(minutes=choice.pause_minutes)
    selection = choice.selection(silent)
    return noise_diary(reader, selection, pause=pause, hours=choice.hours)


def _read(context: WebContext, choice: Choice) -> dict[str, Any]:
    """Read what the template shows; blocking."""
    levels: dict[str, SpanLevels] = {}
    with context.reading() as reader:
        diary = _diary(context, reader, choice)
        if (choice.last - choice.first).days < MOST_LEVEL_DAYS:
            levels = day_levels(reader, choice.selection(), percentiles=False)
    labels = sorted({it.label for it in diary.incidents} | {choice.label} - {""})
    incidents = [it for it in diary.incidents if choice.has(it)]
    return {
        "diary": diary,
        "totals": day_totals(incidents)[-MOST_ROWS:],
        "incidents": incidents[-MOST_ROWS:],
        "missed": diary.missed[-MOST_ROWS:],
        "left_out": max(0, len(incidents) - MOST_ROWS),
        "levels": levels,
        "labels": labels,
        "sources": sorted({*source_names(context), *diary.sources}),
        "least": round(100 * LEAST_COVERAGE),
        "version": context.version,
        "made": datetime.now().astimezone(),
    }


def _table(context: WebContext, choice: Choice) -> str:
    with context.reading() as reader:
        diary = _diary(context, reader, choice)
    incidents = [it for it in diary.incidents if choice.has(it)]
    return diary_csv(
        replace(diary, incidents=incidents), place=choice.place, name=choice.name
    )
