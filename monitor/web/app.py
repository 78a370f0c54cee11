"""The web application: its pages and files, put together."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from monitor.errors import SoundMonitorError
from monitor.web import commands, live
from monitor.web.context import NoDatabaseError, WebContext
from monitor.web.pages import (
    access,
    alerts,
    diary,
    events,
    history,
    now,
    system,
    thresholds,
)
from monitor.web.passwords import PasswordFiles
from monitor.web.rendering import (
    FOLDER,
    LANGUAGES,
    NAVIGATION,
    Navigation,
    language_of,
    render,
    strings_json,
    translation,
)
from monitor.web.security import Guard

logger = logging.getLogger(__name__)

PAGES = (now, events, history, diary, thresholds, alerts, system, access)
"""The modules of the pages; each has `routes(context)`."""


class WebApp:
    """The application behind its guard, as a server calls it."""

    def __init__(
        self,
        context: WebContext,
        routes: Sequence[BaseRoute],
        navigation: Navigation = NAVIGATION,
        feed: live.LiveFeed | None = None,
    ) -> None:
        """Put pages together.

        Args:
            context: What they show.
            routes: Their addresses.
            navigation: Those that every page leads to.
            feed: What the live pages follow; None: there are none.

        Raises:
            UsageError: A file of passwords is damaged.
        """
        self._context = context
        self.live = feed
        self.guard = Guard(
            _starlette(context, routes, navigation, self.close),
            PasswordFiles(context.password_files),
            context.config.web,
        )

    async def close(self) -> None:
        """End the answers that would never end by themselves."""
        if self.live is not None:
            await self.live.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        self._context.refresh()
        await self.guard(scope, receive, send)


COMPRESSED = Middleware(GZipMiddleware)


def build_app(context: WebContext) -> WebApp:
    """Build the application of a monitor.

    Raises:
        UsageError: A file of passwords is damaged.
    """
    feed = live.LiveFeed(context.sockets, context.config.web.max_viewers)
    routes = [route for page in PAGES for route in page.routes(context)]
    routes += [*live.routes(feed), *commands.routes(context)]
    return WebApp(context, routes, feed=feed)


def _starlette(
    context: WebContext,
    routes: Sequence[BaseRoute],
    navigation: Navigation,
    close: Callable[[], Awaitable[None]],
) -> Starlette:
    """Add what every page needs."""
    shared: list[BaseRoute] = [
        # Only what holds no secret is compressed: the size of a page tells nothing.
        Route("/strings/{language}.json", _strings, middleware=[COMPRESSED]),
        Mount(
            "/static",
            StaticFiles(directory=FOLDER / "static"),
            middleware=[COMPRESSED],
        ),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await close()

    app = Starlette(
        routes=[*routes, *shared],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _refused,
            SoundMonitorError: _unavailable,
            Exception: _failed,
        },
    )
    app.state.context = context
    app.state.language = context.config.web.language
    app.state.navigation = navigation
    return app


async def _strings(request: Request) -> Response:
    language = request.path_params["language"]
    if language not in LANGUAGES:
        raise HTTPException(404)
    return Response(
        strings_json(language),
        media_type="application/json",
        headers={"cache-control": "private, max-age=31536000, immutable"},
    )


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    kind = "missing" if status == 404 else "refused"
    return _error_page(request, kind, status)


async def _unavailable(request: Request, error: Exception) -> Response:
    """Answer for a database that is missing, damaged or of another version.

    Browsers ask for HTML and get a page, scripts a sentence.
    """
    kind = getattr(error, "kind", "unavailable")
    is_fault = not isinstance(error, NoDatabaseError)
    if is_fault:
        logger.warning("%s", error)
    if "text/html" in request.headers.get("accept", ""):
        return _error_page(request, kind, 503 if is_fault else 200)
    t = translation(language_of(request))
    sentence = f"{t(f'error.{kind}')}. {t(f'error.{kind}_more')}"
    return JSONResponse({"sentence": sentence}, 503)


async def _failed(request: Request, error: Exception) -> Response:
    del error  # the server logs it
    return _error_page(request, "failed", 500)


def _error_page(request: Request, kind: str, status: int) -> Response:
    return render(request, "error.html", page="error", status_code=status, kind=kind)
