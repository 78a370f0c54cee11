"""The web page in tests: its application without a network, or served on loopback."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from starlette.types import ASGIApp

from monitor import __version__
from monitor.config.config import Config
from monitor.config.web import WebSettings
from monitor.web.app import WebApp
from monitor.web.context import WebContext
from monitor.web.passwords import PasswordFiles, Role
from monitor.web.server import Server, listen

PASSWORD, VIEWER_PASSWORD = "correct horse", "battery staple"

ORIGIN = "http://127.0.0.1:8480"


def make_context(folder: Path, **changes: Any) -> WebContext:
    """The context of a monitor whose files are in `folder`."""
    values: dict[str, Any] = {
        "config": Config(),
        "state_dir": folder,
        "database": folder / "monitor.db",
        "clips": None,
        "sockets": (folder / "status.sock",),
        "version": __version__,
    }
    return WebContext(**values | changes)


def make_config(**web: Any) -> Config:
    """The defaults, with these settings of the page."""
    return Config(web=WebSettings(**web))


def set_passwords(context: WebContext) -> None:
    """Set the passwords of both roles; hashing them takes long."""
    for role, path in context.password_files.items():
        path.write_text(_hash(role))


@cache
def _hash(role: Role) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "password"
        password = PASSWORD if role == "owner" else VIEWER_PASSWORD
        PasswordFiles({role: path}).write(role, password)
        return path.read_text()


@contextmanager
def serving(app: WebApp) -> Iterator[int]:
    """Serve on loopback, on a thread; yield the port."""
    listener = listen("127.0.0.1", 0)
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listener],), name="server")
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.stop()
        thread.join()


class WebClient:
    """A browser without scripts: it keeps cookies, and follows no redirection."""

    def __init__(
        self, app: ASGIApp, origin: str = ORIGIN, client: str = "127.0.0.1"
    ) -> None:
        self._app = app
        self._client = (client, 123)
        self.origin = origin
        self.cookies = httpx.Cookies()

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """Post as the page's own scripts do, with origin and token."""
        headers = {"origin": self.origin, "x-token": self.token()}
        return self.request(
            "POST", path, **more | {"headers": headers | more.get("headers", {})}
        )

    def log_in(self, password: str, **more: Any) -> httpx.Response:
        return self.post("/login", data={"password": password}, **more)

    def token(self) -> str:
        """The token in the pages of this session."""
        text = self.get("/login").text
        found = re.search(r'<meta name="token" content="([^"]*)">', text)
        return found[1] if found else ""

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, **more))

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(
            self._app, raise_app_exceptions=False, client=self._client
        )
        async with httpx.AsyncClient(
            transport=transport, base_url=self.origin, cookies=self.cookies
        ) as client:
            response = await client.request(method, path, **more)
            self.cookies = client.cookies
            return response
