"""The page System: the status document as a person reads it."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.sinks.status_client import query_status
from monitor.web.context import WebContext
from monitor.web.rendering import render


def routes(context: WebContext) -> list[Route]:
    """Return the routes of the page."""

    async def system(request: Request) -> Response:
        # Blocking calls run in a thread: the loop serves every viewer.
        status = await run_in_threadpool(query_status, context.sockets)
        return render(
            request, "system.html", page="system", status=status, context=context
        )

    return [Route("/system", system)]
