"""The page Thresholds: curves of the labels, and the replay of another sensitivity."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.sinks.store.event_pages import EventFilters
from monitor.text import name_problem
from monitor.web.addresses import network_of
from monitor.web.child_commands import (
    BusyError,
    ChildError,
    Children,
    Owner,
    SupersededError,
    TimeLimitError,
)
from monitor.web.context import (
    FileVersions,
    NoDatabaseError,
    WebContext,
)
from monitor.web.rendering import language_of, render, translation
from monitor.web.security import guard_of, is_foreign

WEEK = timedelta(days=7)

REPLAY_SECONDS = 60.0
CURVES_SECONDS = 180.0
"""Longest time of a child."""

FRESH_SECONDS = 600.0
"""Longest time in which the counts of the place are not counted anew."""

REST = 20
"""They rest so many times as long as it takes to count them."""

PROPOSED_ALARMS_PER_DAY = 0.5
"""Budget of a proposed threshold."""

LISTED = 200
"""Events that are listed of those that come, and of those that go; the newest."""

MOST_REVIEWS = 10_000

_RANGES = {
    "place": ("--since", "1w"),
    "model": ("--since", "1970-01-01", "--until", "1970-01-02"),
}
"""Options for the time of the scores; a model needs none of them."""

_GONE_POLL_SECONDS = 0.25

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A document that several viewers share."""

    task: asyncio.Task[tuple[bytes, float]]
    """Its text, and until when it holds, monotonic time."""

    files: FileVersions
    """What it was made of."""

    def is_over(self) -> bool:
        """Return True if it must be made again."""
        task = self.task
        if not task.done():
            return False
        if task.cancelled() or task.exception() is not None:
            return True
        return monotonic() > task.result()[1]


class _Thresholds:
    """What the page asks of the child processes, and of the store."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._children = Children(context)
        self._kept: dict[str, _Kept] = {}

    async def curves(self, of: str) -> bytes:
        """Return the document of `replay --curves`, for everybody who asks.

        Args:
            of: `place`, or `model`: without the counts of the place, which take time.
        """
        context = self._context
        files = context.settings_versions
        kept = self._kept.get(of)
        if kept is None or kept.files != files or kept.is_over():
            task = asyncio.create_task(self._count(of))
            kept = self._kept[of] = _Kept(task, files)
        return (await asyncio.shield(kept.task))[0]

    async def _count(self, of: str) -> tuple[bytes, float]:
        lines: list[bytes] = []
        began = monotonic()
        arguments = ("replay", "--curves", "--json", *_RANGES[of])
        await self._children.run(Owner(of), arguments, lines.append, CURVES_SECONDS)
        now = monotonic()
        return b"".join(lines), now + min(FRESH_SECONDS, REST * (now - began))

    async def replay(self, owner: Owner, label: str, value: float) -> dict[str, Any]:
        """Replay the last week with another sensitivity; label empty: of all labels."""
        since = datetime.now(UTC) - WEEK
        changes = _Changes(await run_in_threadpool(self._verdicts, label, since))
        # In one word: none of it can be taken for another option.
        chosen = [f"--label={label}", f"--sensitivity={label}={value}"]
        if not label:
            chosen = [f"--sensitivity={value}"]
        arguments = ("replay", "--json", "--since", since.isoformat(), *chosen)
        await self._children.run(owner, arguments, changes.take, REPLAY_SECONDS)
        return changes.document()

    async def proposal(self, owner: Owner, label: str) -> dict[str, Any]:
        """Return the document of `calibrate --store` for one label."""
        arguments = [
            *("calibrate", "--store", "--json", "--since", "4w", f"--label={label}"),
            *("--false-alarms-per-day", str(PROPOSED_ALARMS_PER_DAY)),
        ]
        files = self._context.config.model_files
        if len(files) > 1:
            known = json.loads(await self.curves("model"))["labels"]
            model = known.get(label, {}).get("model")
            arguments += [f"--model={model}"] if model in files else []
        lines: list[bytes] = []
        await self._children.run(owner, arguments, lines.append, CURVES_SECONDS)
        found: dict[str, Any] = json.loads(b"".join(lines))
        return found

    def _verdicts(self, label: str, since: datetime) -> dict[str, str]:
        """Return the verdicts of the week by the id of the event."""
        labels = [label] if label else []
        filters = EventFilters(labels=labels, since=since, review="yes")
        try:
            with self._context.reading() as reader:
                page = reader.events_page(filters, limit=MOST_REVIEWS)
        except NoDatabaseError:
            return {}
        return {
            str(getattr(each.timed.record, "id", "")): each.review.verdict
            for each in page.events
            if each.review is not None and each.review.verdict is not None
        }


class _Changes:
    """The lines of a replay, as far as the page shows them."""

    def __init__(self, verdicts: Mapping[str, str]) -> None:
        self._verdicts = verdicts
        self._counts: Counter[str] = Counter()
        self._lists: dict[str, list[dict[str, Any]]] = {"comes": [], "goes": []}
        self._lost: Counter[str] = Counter()

    def take(self, line: bytes) -> None:
        """Take one change; those that stay are only counted."""
        if line.startswith(b'{"change": "stays"'):
            self._counts["stays"] += 1
            return
        found = json.loads(line)
        change, event = found["change"], found["event"]
        self._counts[change] += 1
        if change not in self._lists:
            return
        verdict = self._verdicts.get(event["id"]) if change == "goes" else None
        self._lost[_side(verdict)] += 1
        keys = ("id", "label", "source", "start", "end", "peak_score")
        row = {key: event.get(key) for key in keys} | {"verdict": verdict}
        self._lists[change] = [*self._lists[change], row][-LISTED:]

    def document(self) -> dict[str, Any]:
        """Return what the script of the page gets."""
        sides = Counter(map(_side, self._verdicts.values()))
        return {
            **{change: self._counts[change] for change in ("stays", "comes", "goes")},
            "lists": {name: rows[::-1] for name, rows in self._lists.items()},
            "verdicts": {
                "right": sides["right"],
                "wrong": sides["wrong"],
                "right_lost": self._lost["right"],
                "wrong_gone": self._lost["wrong"],
            },
        }


def _side(verdict: str | None) -> str:
    """An event of another label was wrong for its own."""
    return "wrong" if verdict == "label" else verdict or ""


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""
    thresholds = _Thresholds(context)

    async def page(request: Request) -> Response:
        may_change = (
            "sensitivity" in context.may_change and request.state.role != "viewer"
        )
        label = request.query_params.get("label", "")
        return render(
            request,
            "thresholds.html",
            page="thresholds",
            may_change=may_change,
            label=label,
        )

    async def curves(request: Request) -> Response:
        of = "model" if request.query_params.get("of") == "model" else "place"
        try:
            document = await thresholds.curves(of)
        except ChildError as error:
            return _failure(request, error)
        return Response(document, media_type="application/json")

    async def replay(request: Request) -> Response:
        params = request.query_params
        try:
            value = float(params.get("value", ""))
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            return _problem(request, "value", 400)
        label = params.get("label", "")
        if label and name_problem(label):
            return _problem(request, "label", 400)
        return await _ask(request, thresholds.replay(_owner(request), label, value))

    async def proposal(request: Request) -> Response:
        label = request.query_params.get("label", "")
        if name_problem(label):
            return _problem(request, "label", 400)
        return await _ask(request, thresholds.proposal(_owner(request), label))

    return [
        Route("/thresholds", page),
        Route("/thresholds/curves", _own(curves)),
        Route("/thresholds/replay", _own(replay)),
        Route("/thresholds/proposal", _own(proposal)),
    ]


def _own(answer: Answer) -> Answer:
    """Refuse foreign pages that lead here, too: the answers take a processor's time."""

    async def answer_or_refuse(request: Request) -> Response:
        if is_foreign(request.headers):
            raise HTTPException(403)
        return await answer(request)

    return answer_or_refuse


def _owner(request: Request) -> Owner:
    """Name the visitor, and the window as its script does."""
    window = request.query_params.get("window", "")[:40]
    session = request.state.session
    if guard_of(request).sessions.get(session) is None:
        session = network_of(request.client.host if request.client else "")
    return Owner(session, f"{request.url.path} {window}")


async def _ask(request: Request, answer: Awaitable[dict[str, Any]]) -> Response:
    """Answer with a document, or a sentence; it is given up when the viewer leaves."""
    task = asyncio.ensure_future(answer)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_GONE_POLL_SECONDS)
            if await request.is_disconnected():
                break
    finally:
        task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        return Response(status_code=204)  # the viewer has left
    if (error := task.exception()) is not None:
        if isinstance(error, ChildError):
            return _failure(request, error)
        raise error
    return JSONResponse(task.result())


def _failure(request: Request, error: ChildError) -> Response:
    """Answer with the sentence of a child that failed, which is in English."""
    match error:
        case SupersededError():
            return _problem(request, "newer")
        case BusyError():
            return _problem(request, "busy", 503)
        case TimeLimitError():
            return _problem(request, "slow", seconds=f"{error.seconds:.0f}")
    return JSONResponse({"sentence": str(error)})


def _problem(
    request: Request, kind: str, status: int = 200, **values: object
) -> Response:
    text = translation(language_of(request))(f"thresholds.problems.{kind}", **values)
    return JSONResponse({"sentence": text}, status)
