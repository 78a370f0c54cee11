"""The page Events: a list of what was detected, with its sound and its reviews."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from monitor.sinks.store.event_pages import REVIEWS, EventFilters, EventKey
from monitor.sinks.store.queries import Reader
from monitor.web.clip_index import ClipFile, ClipIndex, open_clip
from monitor.web.context import WebContext
from monitor.web.event_filters import (
    Query,
    QueryError,
    key_text,
    local_text,
    read_ids,
    read_key,
    read_query,
)
from monitor.web.event_rows import EventRow, event_rows
from monitor.web.labels import known_labels
from monitor.web.rendering import (
    LANGUAGES,
    label_text,
    language_of,
    render,
    translation,
)

PAGE_EVENTS = 20
LATE = timedelta(seconds=30)
"""An event may be reported so much later than one that began after it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What is shown of the events of a query."""

    rows: Sequence[EventRow] = ()
    older: str = ""
    """Key before which there are more; empty: there are none."""

    labels: Sequence[str] = ()
    """All labels of the database."""

    sources: Sequence[str] = ()
    verdicts: dict[str, int] | None = None
    """Of the label that is chosen alone."""

    keeps_clips: bool = False


class _Events:
    """Reads events.  Its methods block."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._index: ClipIndex | None = None

    def page(
        self, query: Query, before: EventKey | None, ids: Sequence[str], language: str
    ) -> _Found:
        """Read the newest events, those before a key, or those of some ids."""
        labels = [*query.labels]
        labels += [it.label for it in known_labels() if it.group in query.labels]
        with self._context.reading() as reader:
            self._check(query, reader)
            page = reader.events_page(
                replace(query, labels=labels, ids=ids), before, len(ids) or PAGE_EVENTS
            )
            units = self._context.config.weighted_units
            rows = event_rows(page.events, reader, self._clips(), units, language)
            only = query.labels[0] if len(query.labels) == 1 else None
            return _Found(
                tuple(rows),
                key_text(page.oldest) if page.has_more and page.oldest else "",
                reader.event_labels(),
                reader.sources(),
                None if only is None else reader.verdict_counts(only),
                self._context.clips is not None,
            )

    def _check(self, query: Query, reader: Reader) -> None:
        """Reject what no event can match.

        Raises:
            QueryError: The times are in the wrong order, or a name is unknown.
        """
        if query.since and query.until and query.since >= query.until:
            since, until = map(local_text, (query.since, query.until))
            raise QueryError("order", since, until=until)
        known = [it for each in known_labels() for it in (each.label, each.group)]
        if {*query.labels} - {*known, *reader.event_labels()}:
            labels = {it["label"] for it in self.labels(LANGUAGES[0])}
            for label in {*query.labels} - labels - {*known}:
                raise QueryError("label", label)
        names = {each.name for each in self._context.config.sources}
        for source in {*query.sources} - names - {*reader.sources()}:
            raise QueryError("source", source)

    def clip(self, event_id: str) -> ClipFile | None:
        """Find the clip of an event."""
        if (clips := self._clips()) is None:
            return None
        with self._context.reading() as reader:
            page = reader.events_page(EventFilters(ids=[event_id]), limit=1)
        for each in page.events:
            timed = each.timed
            source = timed.record.source
            return clips.find(event_id, source, timed.start_utc)
        return None

    def labels(self, language: str) -> list[dict[str, str]]:
        """Return the labels that a verdict can name."""
        known = {each.label: each.text for each in known_labels()}
        with self._context.reading() as reader:
            scored = (it for run in reader.sessions().values() for it in run.labels)
            known = dict.fromkeys([*reader.event_labels(), *scored], "") | known
        return [
            {"label": label, "name": label_text(language, label), "text": text}
            for label, text in known.items()
        ]

    def _clips(self) -> ClipIndex | None:
        """Return the clips; None while the configuration allows none."""
        folder = self._context.clips
        if folder is None:
            self._index = None
        elif self._index is None or self._index.folder != folder:
            self._index = ClipIndex(folder)
        return self._index


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""
    events = _Events(context)

    async def page(request: Request) -> Response:
        values: dict[str, Any] = {"problem": "", "query": Query(), "found": _Found()}
        before, status_code = None, 200
        language = language_of(request)
        try:
            values["query"] = query = read_query(request.query_params)
            before = read_key(request.query_params, "before")
            values["found"] = await run_in_threadpool(
                events.page, query, before, (), language
            )
        except QueryError as error:
            values["problem"], status_code = _problem(request, error), 400
        groups = {it.group for it in known_labels() if it.group}
        return render(
            request, "events.html", page="events", status_code=status_code,
            groups=sorted(groups), is_large=True,
            reviews=REVIEWS, is_newest=before is None, local_text=local_text, **values,
        )  # fmt: skip

    async def rows(request: Request) -> Response:
        params = request.query_params
        query, after = read_query(params), read_key(params, "after")
        if after is not None:
            query = query.since_key(after, LATE)
        found = await run_in_threadpool(
            events.page, query, read_key(params, "before"), read_ids(params),
            language_of(request),
        )  # fmt: skip
        is_large = len(found.rows) > PAGE_EVENTS
        return render(
            request, "events_rows.html", page="events", is_large=is_large, found=found
        )

    async def labels(request: Request) -> Response:
        found = await run_in_threadpool(events.labels, language_of(request))
        return JSONResponse(found)

    async def sound(request: Request) -> Response:
        clip = await run_in_threadpool(events.clip, request.query_params.get("id", ""))
        return _file(None if clip is None else clip.sound, "audio/flac")

    async def spectrogram(request: Request) -> Response:
        clip = await run_in_threadpool(events.clip, request.query_params.get("id", ""))
        return _file(None if clip is None else clip.picture, "image/png")

    return [
        Route("/events", page),
        Route("/events/rows", _in_a_sentence(rows)),
        Route("/events/labels", _in_a_sentence(labels)),
        Route("/events/sound", _in_a_sentence(sound)),
        Route("/events/spectrogram", _in_a_sentence(spectrogram)),
    ]


class _File(FileResponse):
    """A file of a clip, or a part of it."""

    def __init__(self, path: Path, media_type: str) -> None:
        """Open it.

        Raises:
            OSError: It is none.
        """
        self._descriptor = open_clip(path)
        # What is opened is what was checked, whatever the name leads to meanwhile.
        # The guard keeps it out of the caches of browsers: here it may be deleted.
        super().__init__(
            f"/dev/fd/{self._descriptor}",
            media_type=media_type,
            filename=path.name,
            stat_result=os.fstat(self._descriptor),
            content_disposition_type="inline",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)


def _file(path: Path | None, media_type: str) -> Response:
    """Answer with a file; None, and a file that is gone: 404."""
    try:
        return Response(status_code=404) if path is None else _File(path, media_type)
    except OSError:
        return Response(status_code=404)


def _problem(request: Request, error: QueryError) -> str:
    """Return the sentence of an error, in the viewer's language."""
    t = translation(language_of(request))
    return t(f"events.problems.{error.kind}", **error.values)


def _in_a_sentence(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Answer errors to scripts with their sentence."""

    async def answer_or_sentence(request: Request) -> Response:
        try:
            return await answer(request)
        except QueryError as error:
            return JSONResponse({"sentence": _problem(request, error)}, 400)

    return answer_or_sentence
