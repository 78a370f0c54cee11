"""The web application: its pages and files, put together."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from monitor.web.context import WebContext
from monitor.web.pages import system
from monitor.web.rendering import FOLDER, LANGUAGES, NAVIGATION, strings_json

PAGES = (system,)
"""The modules of the pages; each has `routes(context)`."""


def build_app(context: WebContext) -> Starlette:
    """Build the application for a monitor."""
    routes: list[BaseRoute] = [
        route for page in PAGES for route in page.routes(context)
    ]
    paths = {route.path for route in routes if isinstance(route, Route)}
    if "/" not in paths:
        first = next(path for _, path in NAVIGATION if path in paths)
        routes.append(Route("/", _redirect_to(first)))
    routes += [
        Route("/strings/{language}.json", _strings),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]
    app = Starlette(routes=routes)
    app.state.paths = paths
    return app


def _redirect_to(path: str) -> Callable[[Request], Awaitable[Response]]:
    async def redirect(request: Request) -> Response:
        return RedirectResponse(request.scope.get("root_path", "") + path, 303)

    return redirect


async def _strings(request: Request) -> Response:
    language = request.path_params["language"]
    if language not in LANGUAGES:
        return Response(status_code=404)
    return Response(
        strings_json(language),
        media_type="application/json",
        headers={"cache-control": "max-age=31536000, immutable"},
    )
