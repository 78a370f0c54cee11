"""The page Day: levels and sounds of a day, a week, a month or a year."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from math import ceil, sqrt
from typing import Any, Literal
from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.errors import StoreError
from monitor.memory import trim_heap
from monitor.sinks.store.level_figures import (
    LEAST_COVERAGE,
    SpanLevels,
    day_levels,
    of_one_kind,
)
from monitor.sinks.store.level_hours import LevelHour, joined
from monitor.sinks.store.queries import Reader, open_to_read
from monitor.sinks.store.sound_calendar import (
    EventTotals,
    LabelCalendar,
    sound_calendar,
)
from monitor.text import weighted_unit
from monitor.web.context import WebContext
from monitor.web.labels import label_text
from monitor.web.rendering import language_of, render

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

_FIRST_YEAR, _LAST_YEAR = 1990, 2200


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

    @property
    def days(self) -> list[date]:
        """Each day."""
        count = (self.last - self.first).days + 1
        return [self.first + timedelta(days=number) for number in range(count)]

    def is_of(self, now: datetime) -> bool:
        """Return True if the time lies in it; else it is over, or to come."""
        return self.first <= now.astimezone().date() <= self.last

    @property
    def before(self) -> date:
        """The last day before."""
        return self.first - timedelta(days=1)

    @property
    def after(self) -> date:
        """The first day after."""
        return self.last + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class MapRow:
    """A row of a map of sounds."""

    name: str
    cells: Sequence[tuple[EventTotals, int, str]]
    """What was heard, how dark the cell is, 0 to `HEATS`, and the query of its events:
    empty where they are no range of time."""


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""

    async def day(request: Request) -> Response:
        view = _view(request)
        found = await run_in_threadpool(_read, context, view)
        name_of = partial(label_text, language_of(request))
        page = render(request, "history.html", page="day", name_of=name_of, **found)
        page.background = BackgroundTask(trim_heap)
        return page

    async def cells(request: Request) -> Response:
        view = _view(request)
        return JSONResponse(await run_in_threadpool(_cells, context, view))

    return [Route("/day", day), Route("/day/cells.json", cells)]


def day_of(text: str | None, otherwise: date) -> date:
    """Read a date of a query, as forms send it.

    Raises:
        HTTPException: It is none, or far from any event.
    """
    if not text:
        return otherwise
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise HTTPException(400) from None
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise HTTPException(400)
    return day


def source_names(context: WebContext) -> list[str]:
    """Names of the sources of the configuration."""
    return [source.name for source in context.config.sources]


def unit_of(levels: SpanLevels | None) -> str:
    """Unit of levels; re full scale where there are none."""
    return weighted_unit(1.0 if levels is not None and levels.is_calibrated else 0.0)


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


def _view(request: Request) -> View:
    query = request.query_params
    span: Span = next((it for it in SPANS if it == query.get("span")), "day")
    day = day_of(query.get("date"), datetime.now().astimezone().date())
    return View(
        span, *span_days(span, day), query.get("source"), query.get("label", "")
    )


def _with_source(view: View, context: WebContext, known: Sequence[str]) -> View:
    """Choose a source if the viewer has not: a configured one that has data, if any."""
    if view.source is not None:
        return view
    names = source_names(context)
    found = [*(it for it in names if it in known), *known, *names]
    return replace(view, source=found[0])


def _read(context: WebContext, view: View) -> dict[str, Any]:
    """Read what the template shows; blocking."""
    if context.database is None:
        raise StoreError("the monitor has no database")
    now, days = datetime.now(UTC), (view.first, view.last)
    with open_to_read(context.database) as reader:
        known = reader.sources()
        view = _with_source(view, context, known)
        chosen_sources = [view.source] if view.source else []
        levels = day_levels(
            reader, *days, now, sources=chosen_sources, percentiles=view.span != "year"
        )
        calendars = sound_calendar(reader, *days, now, sources=chosen_sources)
        newest = _hour_so_far(reader, now) if view.is_of(now) else {}
    chosen = next((it for it in calendars if it.label == view.label), None)
    chosen = chosen or next(iter(calendars), None)
    ranks = {it.label: rank for rank, it in enumerate(calendars)}
    return {
        "view": view,
        "levels": [(it, levels.get(it)) for it in chosen_sources or sorted(levels)],
        "unit_of": unit_of,
        "newest": newest,
        "is_over": not view.is_of(now),
        "calendars": calendars,
        "chosen": chosen,
        "ranks": ranks,
        "columns": _columns(view),
        "by_label": _by_label(view, calendars),
        "by_hour": _by_hour(view, chosen) if chosen and view.span != "day" else [],
        "sources": sorted({*source_names(context), *known, *chosen_sources}),
        "address_of": partial(_address, view, view.first, view.after),
        "spans": SPANS,
        "today": datetime.now().astimezone().date(),
        "least": round(100 * LEAST_COVERAGE),
        "octaves": THIRD_OCTAVES,
    }


def _columns(view: View) -> list[str]:
    """Titles of the columns of the map by label."""
    if view.span == "day":
        return [str(hour) for hour in range(24)]
    if view.span == "year":
        return [str(month) for month in range(1, 13)]
    return [str(day.day) for day in view.days]


def _by_label(view: View, calendars: Sequence[LabelCalendar]) -> list[MapRow]:
    """A row for each label: by hour of a day, by day, or by month of a year."""
    rows: dict[str, list[EventTotals]] = {}
    for calendar in calendars:
        if view.span == "day":
            row = [calendar.of_hour(hour) for hour in range(24)]
        elif view.span == "year":
            row = [_of_month(calendar, month) for month in range(1, 13)]
        else:
            row = [calendar.of_day(day) for day in view.days]
        rows[calendar.label] = row

    def address(label: str, column: int) -> str:
        if view.span == "day":
            return _address(view, view.first, view.first, label, column)
        if view.span == "year":
            first, last = span_days("month", date(view.first.year, column + 1, 1))
            return _address(view, first, last + timedelta(days=1), label)
        day = view.days[column]
        return _address(view, day, day + timedelta(days=1), label)

    return _with_heat(rows, address)


def _by_hour(view: View, calendar: LabelCalendar) -> list[MapRow]:
    """A row of 24 hours for each day, or for each month of a year."""
    rows: dict[str, list[EventTotals]] = {}
    if view.span == "year":
        for month in range(1, 13):
            rows[f"{view.first.year}-{month:02d}"] = [EventTotals() for _ in range(24)]
    else:
        for day in view.days:
            rows[day.isoformat()] = [EventTotals() for _ in range(24)]
    digits = 7 if view.span == "year" else 10
    for (day, hour), cell in calendar.cells.items():
        heard = rows[day.isoformat()[:digits]][hour]
        heard.events += cell.events
        heard.seconds += cell.seconds

    def address(name: str, hour: int) -> str:
        if view.span == "year":
            return ""
        day = date.fromisoformat(name)
        return _address(view, day, day, calendar.label, hour)

    return _with_heat(rows, address)


def _address(
    view: View, first: date, end: date, label: str, hour: int | None = None
) -> str:
    """Return the query of the page Events for a label: until a day, or of one hour."""
    since, until = (datetime.combine(day, time()) for day in (first, end))
    if hour is not None:
        since = since.replace(hour=hour)
        until = since + timedelta(hours=1)
    query = {"label": label, "source": view.source, "since": since, "until": until}
    return urlencode(
        {
            key: f"{value:%Y-%m-%dT%H:%M}" if isinstance(value, datetime) else value
            for key, value in query.items()
            if value
        }
    )


def _hour_so_far(reader: Reader, now: datetime) -> dict[str, LevelHour]:
    """Return what was measured since the last full hour, by source, in one unit."""
    start = now.replace(minute=0, second=0, microsecond=0)
    rows: dict[str, list[LevelHour]] = defaultdict(list)
    for row in reader.level_hours(start):
        rows[row.source].append(row)
    return {source: joined(of_one_kind(each)) for source, each in rows.items()}


def _of_month(calendar: LabelCalendar, month: int) -> EventTotals:
    cells = [it for (day, _), it in calendar.cells.items() if day.month == month]
    return EventTotals(sum(it.events for it in cells), sum(it.seconds for it in cells))


def _with_heat(
    rows: Mapping[str, Sequence[EventTotals]], address: Callable[[str, int], str]
) -> list[MapRow]:
    longest = max((it.seconds for row in rows.values() for it in row), default=0.0)
    return [
        MapRow(
            name,
            [
                (it, _heat(it.seconds, longest), address(name, column))
                for column, it in enumerate(row)
            ],
        )
        for name, row in rows.items()
    ]


def _heat(seconds: float, longest: float) -> int:
    """How dark a cell is; by the root, so that short sounds are seen beside long."""
    return ceil(HEATS * sqrt(seconds / longest)) if seconds > 0 else 0


def _cells(context: WebContext, view: View) -> dict[str, Any]:
    """The map by hour and day of one label, for a script; blocking."""
    if context.database is None:
        raise StoreError("the monitor has no database")
    now = datetime.now(UTC)
    labels = [view.label] if view.label else []
    with open_to_read(context.database) as reader:
        found = sound_calendar(
            reader,
            view.first,
            view.last,
            now,
            labels=labels,
            sources=[view.source] if view.source else [],
        )
    if not found:
        return {"days": len(view.days), "cells": []}
    longest = max(it.seconds for it in found[0].cells.values())
    return {
        "days": len(view.days),
        "cells": [
            [(day - view.first).days, hour, _heat(it.seconds, longest)]
            for (day, hour), it in found[0].cells.items()
        ],
    }
