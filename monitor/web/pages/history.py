"""The page Day: levels and sounds of a day, a week, a month or a year."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from math import ceil, sqrt
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.sinks.store.level_figures import LEAST_COVERAGE, day_levels, of_one_kind
from monitor.sinks.store.level_hours import LevelHour, by_source, joined
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.selection import DAY, HOUR, Selection
from monitor.sinks.store.sound_calendar import (
    EventTotals,
    LabelCalendar,
    sound_calendar,
)
from monitor.text import weighted_unit
from monitor.web.context import WebContext
from monitor.web.event_filters import Query
from monitor.web.fields import Fields
from monitor.web.labels import label_rank
from monitor.web.rendering import render

Span = Literal["day", "week", "month", "year"]
SPANS: tuple[Span, ...] = ("day", "week", "month", "year")

HEATS = 5
"""Steps of the colour of a cell."""

THIRD_OCTAVES = (
    *("25", "31.5", "40", "50", "63", "80", "100", "125", "160", "200", "250", "315"),
    *("400", "500", "630", "800", "1k", "1.25k", "1.6k", "2k", "2.5k", "3.15k", "4k"),
    *("5k", "6.3k", "8k", "10k", "12.5k", "16k"),
)
"""Nominal mid-band frequencies in Hz: IEC 61260-1:2014, annex E."""

_MONTHS = range(1, 13)


@dataclass(frozen=True, slots=True)
class View:
    """The days and the source that a viewer looks at."""

    span: Span
    first: date
    last: date
    source: str | None
    """Empty: all of them; None: the first that has data."""

    label: str
    """Label of the map by hour and day; empty: that which was heard longest."""

    def selection(self, **more: Any) -> Selection:
        """Return the part of the past that it shows."""
        chosen = [self.source] if self.source else []
        return Selection(
            self.first, self.last, datetime.now(UTC), sources=chosen, **more
        )

    def is_of(self, now: datetime) -> bool:
        """Return True if the time lies in it; else it is over, or to come."""
        return self.first <= now.astimezone().date() <= self.last

    @property
    def before(self) -> date:
        """The last day before."""
        return self.first - DAY

    @property
    def after(self) -> date:
        """The first day after."""
        return self.last + DAY

    def events(self, label: str, since: datetime, until: datetime) -> str:
        """Return the query of the page Events for a label and a time of the place."""
        sources = [self.source] if self.source else []
        return Query([label], sources, since, until).address()


Map = Mapping[str, Sequence[tuple[EventTotals, int, str]]]
"""Rows of a map of sounds by their name.  Of each cell what was heard, how dark it is,
0 to `HEATS`, and the query of its events: empty where they are no range of time."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the map by label."""

    title: str
    key: int | date
    """An hour of the day, a month, or a day."""

    since: datetime
    """Time of the place, as `until`."""

    until: datetime


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""

    async def day(request: Request) -> Response:
        view, problem = _view(request)
        values = await run_in_threadpool(_read, context, view)
        return render(
            request,
            "history.html",
            page="day",
            status_code=400 if problem else 200,
            is_large=True,
            problem=problem,
            **values,
        )

    async def cells(request: Request) -> Response:
        view, problem = _view(request)
        if problem:
            return JSONResponse({"sentence": problem}, 400)
        return JSONResponse(await run_in_threadpool(_cells, context, view))

    return [Route("/day", day), Route("/day/cells.json", cells)]


def source_names(context: WebContext) -> list[str]:
    """Names of the sources of the configuration."""
    return [source.name for source in context.config.sources]


def span_days(span: Span, day: date) -> tuple[date, date]:
    """Return first and last day of the span in which a day lies; weeks begin Monday."""
    if span == "week":
        first = day - timedelta(days=day.weekday())
        return first, first + timedelta(days=6)
    if span == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    if span == "year":
        return date(day.year, 1, 1), date(day.year, 12, 31)
    return day, day


def _view(request: Request) -> tuple[View, str]:
    """Read the form, and a sentence about a wrong date: it is today then."""
    fields, query = Fields(request, "day"), request.query_params
    span: Span = next((it for it in SPANS if it == query.get("span")), "day")
    days = span_days(span, fields.day("date", datetime.now().astimezone().date()))
    view = View(span, *days, query.get("source"), query.get("label", ""))
    return view, fields.problem


def _read(context: WebContext, view: View) -> dict[str, Any]:
    """Read what the template shows; blocking."""
    now, names = datetime.now(UTC), source_names(context)
    with context.reading() as reader:
        known = reader.sources()
        if view.source is None:
            # A configured one that has data, if any.
            found = [*(it for it in names if it in known), *known, *names]
            view = replace(view, source=found[0])
        selection = view.selection()
        levels = day_levels(reader, selection, percentiles=view.span != "year")
        calendars = sound_calendar(reader, selection)
        newest = _hour_so_far(reader, now) if view.is_of(now) else {}
    chosen = next((it for it in calendars if it.label == view.label), None)
    chosen = chosen or next(iter(calendars), None)
    sources, columns = selection.sources, _columns(view)
    return {
        "view": view,
        "levels": [(it, levels.get(it)) for it in sources or sorted(levels)],
        "unit_of": weighted_unit,
        "newest": newest,
        "is_over": not view.is_of(now),
        "calendars": calendars,
        "chosen": chosen,
        "rank_of": label_rank,
        "columns": [it.title for it in columns],
        "by_label": _by_label(view, columns, calendars),
        "by_hour": _by_hour(view, chosen) if chosen and view.span != "day" else {},
        "sources": sorted({*names, *known, *sources}),
        "address_of": partial(
            view.events, since=_midnight(view.first), until=_midnight(view.after)
        ),
        "spans": SPANS,
        "today": now.astimezone().date(),
        "least": round(100 * LEAST_COVERAGE),
        "octaves": THIRD_OCTAVES,
    }


def _columns(view: View) -> list[_Column]:
    """Return the hours of a day, the months of a year, or the days."""
    if view.span == "day":
        starts = [_midnight(view.first) + hour * HOUR for hour in range(24)]
        return [_Column(str(it.hour), it.hour, it, it + HOUR) for it in starts]
    if view.span == "year":
        months = [span_days("month", date(view.first.year, it, 1)) for it in _MONTHS]
        return [
            _Column(str(it.month), it.month, _midnight(it), _midnight(last + DAY))
            for it, last in months
        ]
    return [
        _Column(str(it.day), it, _midnight(it), _midnight(it + DAY))
        for it in view.selection().days
    ]


def _by_label(
    view: View, columns: Sequence[_Column], calendars: Sequence[LabelCalendar]
) -> Map:
    """A row for each label."""

    def key_of(day: date, hour: int) -> int | date:
        return {"day": hour, "year": day.month}.get(view.span, day)

    rows = {}
    for calendar in calendars:
        label, sums = calendar.label, calendar.sums(key_of)
        rows[label] = [
            (sums[it.key], view.events(label, it.since, it.until)) for it in columns
        ]
    return _with_heat(rows)


def _by_hour(view: View, calendar: LabelCalendar) -> Map:
    """A row of 24 hours for each day, or for each month of a year."""
    is_year = view.span == "year"
    digits = 7 if is_year else 10
    sums = calendar.sums(lambda day, hour: (day.isoformat()[:digits], hour))

    def address(day: date, hour: int) -> str:
        start = _midnight(day) + hour * HOUR
        return "" if is_year else view.events(calendar.label, start, start + HOUR)

    rows = {}
    for day in view.selection().days:
        name = day.isoformat()[:digits]
        rows[name] = [(sums[name, hour], address(day, hour)) for hour in range(24)]
    return _with_heat(rows)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _hour_so_far(reader: Reader, now: datetime) -> dict[str, LevelHour]:
    """Return what was measured since the last full hour, by source, in one unit."""
    found = reader.level_hours(now.replace(minute=0, second=0, microsecond=0))
    return {it: joined(of_one_kind(rows)) for it, rows in by_source(found).items()}


def _with_heat(rows: Mapping[str, Sequence[tuple[EventTotals, str]]]) -> Map:
    longest = max((it.seconds for row in rows.values() for it, _ in row), default=0.0)
    return {
        name: [(it, _heat(it.seconds, longest), address) for it, address in row]
        for name, row in rows.items()
    }


def _heat(seconds: float, longest: float) -> int:
    """How dark a cell is; by the root, so that short sounds are seen beside long."""
    return ceil(HEATS * sqrt(seconds / longest)) if seconds > 0 else 0


def _cells(context: WebContext, view: View) -> dict[str, Any]:
    """The map by hour and day of one label, for a script; blocking."""
    selection = view.selection(labels=[view.label] if view.label else [])
    with context.reading() as reader:
        found = sound_calendar(reader, selection)
    cells = found[0].cells if found else {}
    longest = max((it.seconds for it in cells.values()), default=0.0)
    return {
        "days": len(selection.days),
        "cells": [
            [(day - view.first).days, hour, _heat(it.seconds, longest)]
            for (day, hour), it in cells.items()
        ],
    }
