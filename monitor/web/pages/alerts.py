"""The page Alerts: the rules, what was sent, what waits, and what failed and why."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config.alerts import AlertSettings
from monitor.sinks.alerts.alert import AlertState
from monitor.sinks.alerts.listing import AlertPage, ListedAlert, Unanswered
from monitor.sinks.status_client import Document, query_status
from monitor.text import utc_text
from monitor.web.context import NoDatabaseError, WebContext
from monitor.web.rendering import render

PAGE_LENGTH = 30
MUTE_SECONDS = 3600

STATES: tuple[AlertState, ...] = get_args(AlertState)


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""

    async def alerts(request: Request) -> Response:
        return await _show(request, context, "alerts.html")

    async def lists(request: Request) -> Response:
        """Answer with the part of the page that changes."""
        return await _show(request, context, "alerts_lists.html")

    return [Route("/alerts", alerts), Route("/alerts/lists", lists)]


async def _show(request: Request, context: WebContext, template: str) -> Response:
    query = request.query_params
    state = next((it for it in STATES if it == query.get("state")), None)
    rule, before = query.get("rule") or None, query.get("before", "")
    key = int(before) if before.isdecimal() and len(before) < 19 else None
    status = await run_in_threadpool(query_status, context.sockets)
    page, unanswered = await run_in_threadpool(_read, context, state, rule, key)
    rules = context.config.alerts
    return render(
        request,
        template,
        page="alerts",
        running=status["running"] is True,
        rules=[_rule(each, status, unanswered) for each in rules],
        names=[each.name for each in rules],
        states=STATES,
        state=state,
        rule=rule,
        key=key,
        alerts=[_alert(each) for each in page.alerts],
        oldest=page.oldest if page.has_more else None,
        may_mute="mute" in context.may_change,
        mute_seconds=MUTE_SECONDS,
    )


def _read(
    context: WebContext, state: AlertState | None, rule: str | None, before: int | None
) -> tuple[AlertPage, Mapping[str, Unanswered]]:
    try:
        with context.reading() as reader:
            page = reader.alerts_page(
                state=state, rule=rule, before=before, limit=PAGE_LENGTH
            )
            return page, reader.unanswered()
    except NoDatabaseError:
        return AlertPage((), None, has_more=False), {}


def _rule(
    settings: AlertSettings, status: Document, unanswered: Mapping[str, Unanswered]
) -> Document:
    """Return what the page shows of a rule; the monitor says what waits and is mute."""
    known = (status.get("outbox") or {}).get("endpoints") or {}
    mutes = {
        it["rule"]: {**it, "minutes": _minutes(status["time"], it["until"])}
        for it in status.get("mutes") or ()
    }
    return {
        "name": settings.name,
        "sounds": [it for it in settings.on if it != "health"],
        "health": "health" in settings.on,
        "kinds": settings.kinds,
        "labels": settings.labels,
        "sources": settings.sources,
        "mute": mutes.get(settings.name),
        "endpoints": [
            {
                "name": name,
                **{key: known.get(name, {}).get(key) for key in _COUNTS},
                "unanswered": unanswered.get(name),
            }
            for name in settings.endpoints
        ],
    }


_COUNTS = ("pending", "dead", "oldest_pending")


def _minutes(now: str, until: str) -> int:
    """Return the minutes that are left, begun ones too."""
    left = datetime.fromisoformat(until) - datetime.fromisoformat(now)
    return max(1, ceil(left / timedelta(minutes=1)))


def _alert(listed: ListedAlert) -> Document:
    entry = listed.entry
    alert = entry.alert
    return {
        "id": alert.id,
        "message": str(alert.body.get("message") or "")[:500],
        **{key: alert.body.get(key) for key in ("label", "source", "escalation")},
        "score": alert.body.get("peak_score"),
        "endpoint": alert.endpoint,
        "kind": alert.kind,
        "created": utc_text(alert.created),
        "state": entry.state,
        "next": utc_text(entry.next_attempt) if entry.state == "pending" else None,
        "deadline": utc_text(alert.deadline),
        "error": entry.last_error,
        "count": entry.attempts,
        "attempts": [
            {
                "at": utc_text(each.at),
                "outcome": each.outcome,
                "detail": each.detail,
                "seconds": each.duration_seconds,
            }
            for each in listed.attempts
        ],
    }
