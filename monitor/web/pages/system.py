"""The page System: the status document as a person reads it, and the model card."""

import json
import logging
import platform
import sqlite3
from datetime import datetime
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.sinks.status_client import Document, query_status
from monitor.web.child_commands import ChildError, output_of
from monitor.web.context import FileVersions, WebContext, file_versions
from monitor.web.rendering import render

MODEL_SECONDS = 60.0
"""Longest time in which a model file is read: a card may be slow."""

logger = logging.getLogger(__name__)


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""
    cards: dict[str | None, tuple[FileVersions, Document]] = {}

    async def system(request: Request) -> Response:
        return await _show(request, context, "system.html")

    async def status(request: Request) -> Response:
        """Answer with the part of the page that changes."""
        return await _show(request, context, "system_status.html")

    async def models(request: Request) -> Response:
        shown = []
        for name in context.config.model_files:
            versions = file_versions(Path(name) if name else None)
            known, card = cards.get(name, ({}, {}))
            if not card or known != versions:
                card = await _card(name)
                cards[name] = versions, card
            shown += [_view(card)] if card else []
        return render(request, "models.html", page="system", cards=shown)

    return [
        Route("/system", system),
        Route("/system/status", status),
        Route("/system/models", models),
    ]


async def _show(request: Request, context: WebContext, template: str) -> Response:
    # A call that blocks runs in a thread: the loop serves every viewer.
    status = await run_in_threadpool(query_status, context.sockets)
    # Without a version where no monitor answers; details of another may be others.
    details = status.get("version") == context.version
    return render(
        request,
        template,
        page="system",
        details=details,
        uptime=_seconds_since(status["since"], status["time"]) if details else None,
        status=status,
        context=context,
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
    )


def _seconds_since(since: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds()


async def _card(name: str | None) -> Document:
    """Read the card of a model in a child process: reading it takes numpy.

    Returns:
        What `sound-monitor model --json` prints; nothing if it cannot be read.
    """
    arguments = ("model", *filter(None, [name]), "--json")
    try:
        found = json.loads(await output_of(*arguments, seconds=MODEL_SECONDS))
    except (ChildError, ValueError) as error:
        logger.warning("the model %s cannot be read: %s", name or "urban", error)
        return {}
    return found if isinstance(found, dict) else {}


def _view(document: Document) -> Document:
    """Return what the page shows of a card."""
    card = document["card"]
    return {
        "name": card["name"],
        "created": card.get("created"),
        "licence": card.get("licence") or "",
        "begins_with": card.get("begins_with") or "",
        "sample_rate": document["spec"]["sample_rate"],
        "tested": (card.get("report") or {}).get("tested") or "",
        "labels": [
            {"name": label, **_threshold(card["thresholds"].get(label) or {})}
            for label in card["labels"]
        ],
    }


def _threshold(threshold: Document) -> Document:
    """Return a threshold, with what its curve says there; None where unknown."""
    onset = threshold.get("onset")
    keys = ("detected_near", "detected_far", "latency_seconds", "false_alarms_per_hour")
    points = [
        point for point in threshold.get("curve") or () if point.get("onset") == onset
    ]
    point = points[0] if points else {}
    return {"onset": onset} | {key: point.get(key) for key in keys}
