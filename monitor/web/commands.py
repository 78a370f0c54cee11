"""Commands to the monitor, which the pages POST to /api/command/NAME."""

import json
from typing import Any, get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.config.outputs import Change
from monitor.errors import SoundMonitorError
from monitor.sinks.status_client import ask_command
from monitor.web.context import WebContext
from monitor.web.security import form_of


def routes(context: WebContext) -> list[Route]:
    """Return the route of the commands.

    The guard has checked the role, and the monitor checks name and arguments.
    """

    async def command(request: Request) -> Response:
        name, arguments = request.path_params["name"], _arguments(request)
        if name in get_args(Change) and name not in context.may_change:
            return _refusal(
                f"web.may_change of the configuration does not allow this: add {name}",
                409,
            )
        if arguments is None:
            return _refusal("the request is not an object of JSON", 400)
        try:
            result = await run_in_threadpool(
                ask_command, context.sockets, name, arguments
            )
        except SoundMonitorError as error:
            return _refusal(str(error), 409)
        return JSONResponse({"ok": True, "result": result})

    return [Route("/api/command/{name}", command, methods=["POST"])]


def _arguments(request: Request) -> dict[str, Any] | None:
    """Read the arguments from JSON or a form; None: they are neither."""
    if fields := form_of(request):
        return {name: value for name, value in fields.items() if name != "token"}
    try:
        found = json.loads(request.state.body or b"{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refusal(sentence: str, status: int) -> Response:
    return JSONResponse({"ok": False, "sentence": sentence}, status)
