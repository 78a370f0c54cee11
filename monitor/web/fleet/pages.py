"""The pages of a fleet: its monitors, events, days, and the state of its records."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta
from math import ceil, sqrt
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.text import weighted_unit
from monitor.web.event_filters import (
    Query,
    QueryError,
    local_text,
    read_query,
)
from monitor.web.fields import Fields
from monitor.web.fleet.context import FleetContext
from monitor.web.fleet.levels import hourly_levels
from monitor.web.fleet.queries import (
    CLOCK_SECONDS,
    MOST_LABELS,
    FleetFilters,
    FleetReader,
    Row,
    deaf_since,
    listened,
)
from monitor.web.labels import label_rank
from monitor.web.rendering import device_zone, language_of, render, translation

LABEL_DAYS = timedelta(days=30)
"""The labels of so many days can be chosen."""

HEATS = 5
LONGEST_NAME = 200


def routes(context: FleetContext) -> list[Route]:
    """Return the routes of the pages."""

    def page(path: str, template: str, name: str, read: Any) -> Route:
        async def answer(request: Request) -> Response:
            values = await run_in_threadpool(read, context, request)
            code = 400 if values.get("problem") else 200
            return render(
                request, template, page=name, status_code=code, is_large=True, **values
            )

        return Route(path, answer)

    return [
        page("/", "fleet_monitors.html", "monitors", _monitors),
        page("/monitors", "fleet_monitors_list.html", "monitors", _monitors),
        page("/events", "fleet_events.html", "events", _events),
        page("/day", "fleet_day.html", "day", _day),
        page("/system", "fleet_system.html", "system", _system),
    ]


def _monitors(context: FleetContext, request: Request) -> dict[str, Any]:
    site = _text(request, "site")
    now = datetime.now(UTC)
    with context.reading_fleet() as reader:
        monitors, sites = reader.monitors(site), reader.sites()
        events = reader.event_counts(now - timedelta(days=1))
    since = deaf_since(monitors)
    return {
        "monitors": monitors,
        "sites": sites,
        "site": site,
        "events": events,
        "deaf": [it for it in monitors if it["deaf"]],
        "deaf_since": since.isoformat() if since else "",
        "listened": listened(monitors),
        "clock_seconds": CLOCK_SECONDS,
    }


def _events(context: FleetContext, request: Request) -> dict[str, Any]:
    now = datetime.now(UTC)
    values: dict[str, Any] = {"problem": "", "rows": [], "older": "", "query": Query()}
    label, monitor, site = (_text(request, it) for it in ("label", "monitor", "site"))
    filters = FleetFilters(label, monitor, site)
    before = None
    try:
        values["query"] = query = read_query(request.query_params)
        if query.since and query.until and query.since >= query.until:
            since, until = map(local_text, (query.since, query.until))
            raise QueryError("order", since, until=until)
        filters = replace(
            filters, since=query.since, until=query.until, min_score=query.min_score
        )
        before = _key(request)
    except QueryError as error:
        t = translation(language_of(request))
        values["problem"] = t(f"events.problems.{error.kind}", **error.values)
    with context.reading_fleet() as reader:
        choices = _choices(reader) | {"labels": reader.labels(now - LABEL_DAYS)}
        if not values["problem"]:
            values["rows"], has_more = reader.events(filters, before, now)
            if has_more:
                values["older"] = _older(filters, values["rows"][-1])
    return {
        **values,
        **choices,
        "filters": filters,
        "is_newest": before is None,
        "local_text": local_text,
        "unit_of": weighted_unit,
        "rank_of": label_rank,
    }


def _day(context: FleetContext, request: Request) -> dict[str, Any]:
    fields = Fields(request, "day")
    today = datetime.now().astimezone().date()
    day = fields.day("date", today)
    monitor, site = _text(request, "monitor"), _text(request, "site")
    since, until = _midnight(day), _midnight(day + timedelta(days=1))
    with context.reading_fleet() as reader:
        hours = reader.label_hours(since, until, monitor, site, _zone())
        rows = reader.day_of_monitors(since, until, monitor, site)
        choices = _choices(reader)
        levels = (
            hourly_levels(reader.level_rows(since, until, monitor)) if monitor else {}
        )
        units = reader.level_units(monitor) if levels else {}
    return {
        **choices,
        "problem": fields.problem,
        "date": day,
        "before": day - timedelta(days=1),
        "after": day + timedelta(days=1),
        "today": today,
        "monitor": monitor,
        "site": site,
        "map": _with_heat(hours),
        "rows": rows,
        "levels": levels,
        "units": units,
        "rank_of": label_rank,
    }


def _system(context: FleetContext, request: Request) -> dict[str, Any]:
    del request
    with context.reading_fleet() as reader:
        monitors = reader.monitors()
        return {
            "facts": reader.facts(),
            "versions": reader.versions(),
            "missing": reader.missing(),
            "refused": reader.refused(),
            "count": len(monitors),
            "version": context.version,
            "clock_seconds": CLOCK_SECONDS,
            "late": [it for it in monitors if (it["pending"] or 0) > 0],
            "clocks": [it for it in monitors if _is_wrong(it["clock_ahead_seconds"])],
        }


def _choices(reader: FleetReader) -> dict[str, Sequence[str]]:
    return {"sites": reader.sites(), "names": reader.names()}


def _is_wrong(ahead: float | None) -> bool:
    return ahead is not None and abs(ahead) > CLOCK_SECONDS


def _text(request: Request, key: str) -> str:
    # PostgreSQL takes no NUL in a text.
    return request.query_params.get(key, "")[:LONGEST_NAME].replace("\0", "")


def _key(request: Request) -> tuple[datetime, str, str] | None:
    """Read the event before which the list begins.

    Raises:
        QueryError: It is none.
    """
    text = _text(request, "before")
    if not text:
        return None
    try:
        at, monitor, event = text.split(" ", 2)
        return datetime.fromisoformat(at).astimezone(UTC), monitor, event
    except (ValueError, OverflowError):
        raise QueryError("place", text) from None


def _older(filters: FleetFilters, last: Row) -> str:
    """Return the query of the page of what is older than an event."""
    values = {key: value for key, value in asdict(filters).items() if value is not None}
    for key in ("since", "until"):
        if key in values:
            values[key] = local_text(values[key])
    values["before"] = f"{last['at'].isoformat()} {last['monitor']} {last['id']}"
    return "?" + urlencode({key: value for key, value in values.items() if value != ""})


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time()).astimezone(UTC)


def _zone() -> str:
    """The zone of this machine, as PostgreSQL knows it."""
    zone = device_zone()
    # In POSIX zones, which a mere offset is taken for, west is positive.
    signs = {"+": "-", "-": "+"}
    return f"UTC{signs[zone[0]]}{zone[1:]}" if zone[0] in signs else zone


def _with_heat(hours: Sequence[Row]) -> Mapping[str, Sequence[tuple[int, int]]]:
    """Return by label, the most frequent first, events and colour of each hour."""
    longest = max((it["seconds"] or 0.0 for it in hours), default=0.0)
    rows: dict[str, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)] * 24)
    for it in hours:
        heat = ceil(HEATS * sqrt((it["seconds"] or 0.0) / longest)) if longest else 0
        rows[it["label"]][it["hour"]] = it["events"], min(max(heat, 1), HEATS)
    order = sorted(rows, key=lambda label: -sum(events for events, _ in rows[label]))
    return {label: rows[label] for label in order[:MOST_LABELS]}
