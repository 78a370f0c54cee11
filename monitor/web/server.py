"""The server of the web page: uvicorn, with limits, on one address."""

import logging
import socket

import uvicorn
from starlette.applications import Starlette

from monitor.errors import UsageError

STOP_SECONDS = 3
"""Live streams never end by themselves; after a stop they have this long."""

logger = logging.getLogger(__name__)


def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until a signal stops it.

    Raises:
        UsageError: The address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"--listen {host}:{port}: cannot be listened at: {error.strerror}"
        ) from None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    name = f"[{host}]" if ":" in host else host
    logger.info("the page is at http://%s:%d", name, listener.getsockname()[1])
    server.run([listener])
