"""Security of the web page: who may send a request, and what an answer may do."""

import asyncio
import hmac
import logging
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.config.web import WebSettings
from monitor.errors import UsageError
from monitor.web.addresses import parsed, plain
from monitor.web.passwords import PasswordFiles, Passwords, needs_password
from monitor.web.rendering import LANGUAGE_COOKIE, choose_language, translation
from monitor.web.session import COOKIE, Sessions, Throttle

MAX_TARGET_BYTES = 8192
"""Path and query: pages repeat parts of it."""

MAX_HEADER_BYTES = 16_384
"""Path, query and headers."""

MAX_BODY_BYTES = 65_536
BODY_SECONDS = 10.0
"""Longest time in which a request's body must arrive."""

OPEN_PATHS = ("/login", "/static/", "/strings/", "/language")
"""What is shown without a password: the page that asks for it, and its files."""

PROXY_HEADERS = re.compile(
    "forwarded|via|cdn-loop|cf-.+|.+-client-ip"
    "|x-(forwarded|original|real|ingress|envoy)(-.+)?"
)
"""Names of headers that a browser never sends, and proxies do."""

FAILURE_LOG_SECONDS = 60.0

_CLOSE = {"connection": "close"}
"""Unread bytes of a body would be taken for the next request."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")

logger = logging.getLogger(__name__)


class Guard:
    """The outermost layer: every request and every answer passes it.

    A request is refused for its length, a foreign Host, a foreign page, a missing
    session or a body that is too slow.  The state of an accepted one has `role`,
    `token`, `session` (its id, or empty), `signed_in`, `has_password`, `is_secure` and,
    of a POST, `body`.
    """

    def __init__(
        self, app: ASGIApp, passwords: PasswordFiles, settings: WebSettings
    ) -> None:
        """Guard an application.

        Raises:
            UsageError: A file of passwords is damaged.
        """
        self.sessions = Sessions()
        self.throttle = Throttle()
        self.hashing = asyncio.Lock()
        """Held while a password is hashed: that takes memory and a core."""

        self._app = app
        self._files = passwords
        self._settings = settings
        self._version = passwords.version()
        self._passwords = passwords.read()
        self._is_open = self._passwords is None and not needs_password(settings)
        self._hosts = _names_of_machine() | {*settings.hosts}
        self._token = secrets.token_urlsafe(32)
        self._headers = _headers(settings.frame_ancestors)
        self._failed_at = -FAILURE_LOG_SECONDS

    @property
    def needs_session(self) -> bool:
        """Return True if only who has signed in sees anything."""
        return not self._is_open

    def admits(self, session: str) -> bool:
        """Return True if a session, or none, may look at this moment."""
        self._read_again()
        return self._is_open or self.sessions.get(session) is not None

    @property
    def passwords(self) -> Passwords | None:
        """The passwords as they are now; another object after each change of them."""
        self._read_again()
        return self._passwords

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["date"] = formatdate(usegmt=True)
                if "/static/" in scope["path"]:
                    headers.setdefault("cache-control", "no-cache")
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # Browsers send these where they trust the connection, and elsewhere
                # ignore the policy, with an error in their console.
                if "sec-fetch-site" in Headers(scope=scope):
                    headers.setdefault("cross-origin-opener-policy", "same-origin")
            await send(message)

        try:
            self._read_again()
            refusal, body = await self._admit(scope, receive)
        except Exception:
            if monotonic() - self._failed_at >= FAILURE_LOG_SECONDS:
                self._failed_at = monotonic()
                logger.exception("a request could not be read")
            # Whatever it was, its headers are not read again for a language.
            refusal, body = PlainTextResponse("This request failed.", 500, _CLOSE), None
        if refusal is not None:
            await refusal(scope, receive, protected)
            return
        await self._app(scope, receive if body is None else _replay(body), protected)

    def _read_again(self) -> None:
        """Take passwords that were changed; every session ends then.

        A page that has had one does not open when its file disappears.
        """
        if (version := self._files.version()) == self._version:
            return
        self._version = version
        self.sessions.clear()
        try:
            self._passwords = self._files.read()
        except UsageError:
            self._passwords = Passwords({})  # admits nobody
        self._is_open &= self._passwords is None

    async def _admit(
        self, scope: Scope, receive: Receive
    ) -> tuple[Response | None, bytes | None]:
        """Return the refusal of a request, or its body if it is a POST."""
        headers = Headers(scope=scope)
        if (status := _status_of_length(scope)) is not None:
            return self._refusal(scope, status, "refusal.long"), None
        is_proxied = self._read_proxy(scope, headers)
        signs_in = self._settings.proxy_signs_in
        if signs_in and not is_proxied:
            return self._refusal(scope, 403, "refusal.direct"), None
        # A name that leads elsewhere leads past the proxy, which has its own sessions.
        is_own = signs_in or self._is_own_host(_host(headers))
        if not (scope["path"].startswith("/") and is_own):
            return self._refusal(scope, 400, "refusal.host"), None
        is_forwarded = any(map(PROXY_HEADERS.fullmatch, headers))
        if self._is_open and is_forwarded and not signs_in:
            # A proxy that nobody has named leads others here.
            return self._refusal(scope, 403, "refusal.proxied"), None
        if is_foreign(headers) and headers.get("sec-fetch-mode") != "navigate":
            return self._refusal(scope, 403, "refusal.foreign"), None
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return self._refusal(scope, 405, "refusal.method"), None
        state = scope["state"]
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        state["guard"] = self
        state["has_password"] = self.needs_session
        state["session"] = session
        known = self.sessions.get(session)
        state["signed_in"] = known is not None or not self.needs_session
        state["role"] = known.role if known else "owner"
        state["token"] = known.token if known else self._token
        body = None
        if scope["method"] == "POST":
            body, refusal = await self._read_change(scope, receive, headers)
            if refusal is not None:
                return refusal, None
        return self._permit(scope), body

    def _read_proxy(self, scope: Scope, headers: Headers) -> bool:
        """Take address, scheme and path prefix from a trusted proxy; True: it asks."""
        client = scope.get("client") or ("", 0)
        scope["client"] = client = (plain(client[0]), client[1])
        scope.setdefault("state", {})
        scope["state"]["is_secure"] = False
        if not self.is_proxy(client[0]):
            return False
        if _latest(headers, "x-forwarded-proto").lower() == "https":
            scope["scheme"] = "https"
            scope["state"]["is_secure"] = True
        address = _latest(headers, "x-forwarded-for")
        if parsed(address) is not None:
            scope["client"] = (plain(address), 0)
        prefix = _latest(headers, "x-ingress-path")
        prefix = prefix or _latest(headers, "x-forwarded-prefix")
        prefix = quote(prefix.rstrip("/"), safe="/-_.~")
        if prefix.startswith("/") and not prefix.startswith("//"):
            scope["root_path"] = prefix
            scope["path"] = prefix + scope["path"]
        return True

    def is_proxy(self, address: str) -> bool:
        """Return True for the address of the trusted proxy."""
        proxy = self._settings.trusted_proxy
        return proxy is not None and plain(address) == plain(proxy)

    def _is_own_host(self, host: str) -> bool:
        """Check the Host against DNS rebinding: a foreign name that leads here."""
        if (found := _HOST.fullmatch(host)) is None:
            return False
        name = found[1].strip("[]")
        return parsed(name) is not None or name.rstrip(".") in self._hosts

    async def _read_change(
        self, scope: Scope, receive: Receive, headers: Headers
    ) -> tuple[bytes, Response | None]:
        """Read a POST, which must come from a page of this server."""
        if not _has_own_origin(headers):
            return b"", self._refusal(scope, 403, "refusal.foreign")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_body(receive)
        except TimeoutError:
            return b"", self._refusal(scope, 408, "refusal.slow")
        if body is None:
            return b"", self._refusal(scope, 413, "refusal.long")
        scope["state"]["body"] = body
        given = headers.get("x-token") or read_form(body, headers).get("token", "")
        if not hmac.compare_digest(given.encode(), scope["state"]["token"].encode()):
            return b"", self._refusal(scope, 403, "refusal.old")
        return body, None

    def _permit(self, scope: Scope) -> Response | None:
        """Refuse what only others may do; None: it is permitted."""
        root, state = scope.get("root_path", ""), scope["state"]
        path, is_change = scope["path"].removeprefix(root), scope["method"] == "POST"
        if self._passwords is None and not self._is_open:
            return self._refusal(scope, 503, "refusal.locked")
        if path.startswith(OPEN_PATHS):
            return None
        if not state["signed_in"]:
            if is_change or path.startswith(("/api/", "/live")):
                return self._refusal(scope, 401, "refusal.signed_out")
            query = scope["query_string"].decode("latin-1")
            here = quote(f"{path}?{query}" if query else path)
            return RedirectResponse(f"{root}/login?next={here}", 303)
        if is_change and state["role"] == "viewer" and path != "/logout":
            return self._refusal(scope, 403, "refusal.viewer")
        return None

    def _refusal(self, scope: Scope, status: int, key: str) -> Response:
        headers = Headers(scope=scope)
        cookie = cookie_parser(headers.get("cookie", "")).get(LANGUAGE_COOKIE)
        language = choose_language(cookie, self._settings.language, headers)
        return PlainTextResponse(translation(language)(key), status, _CLOSE)


def read_form(body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """Read the fields of a form; other bodies have none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form that the guard has read."""
    return read_form(getattr(request.state, "body", b""), request.headers)


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return True if a browser says that a page of another origin asks."""
    site = headers.get("sec-fetch-site", "none")
    # Browsers send no origin with what a page gets from its own server.
    is_own = "origin" not in headers or _has_own_origin(headers)
    return site not in ("none", "same-origin") or not is_own


def guard_of(request: Request) -> Guard:
    """Return the guard that has admitted a request."""
    guard: Guard = request.state.guard
    return guard


async def _read_body(receive: Receive) -> bytes | None:
    """Read a body; None: it is too long, or its sender has gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _replay(body: bytes) -> Receive:
    """Make the application's `receive` of a body that was read before."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            # A change is answered at once: nothing waits for its client to go.
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _status_of_length(scope: Scope) -> int | None:
    """Return the status for a request that is too long; None: it is not."""
    target = len(scope["raw_path"]) + len(scope["query_string"])
    if target > MAX_TARGET_BYTES:
        return 414
    # A header has four bytes more: a colon, a space, and the end of its line.
    headers = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return 431 if target + headers > MAX_HEADER_BYTES else None


def _latest(headers: Headers, name: str) -> str:
    """Return the last word of a header: a proxy appends its own, perhaps as a line."""
    lines = headers.getlist(name)
    return lines[-1].rpartition(",")[2].strip() if lines else ""


def _host(headers: Mapping[str, str]) -> str:
    return headers.get("host", "").strip().lower()


def _has_own_origin(headers: Mapping[str, str]) -> bool:
    try:
        origin = urlsplit(headers.get("origin", "")).netloc.lower()
    except ValueError:
        return False
    return bool(origin) and origin == _host(headers)


def _names_of_machine() -> set[str]:
    name = socket.gethostname().lower()
    return {
        "localhost",
        name,
        name.partition(".")[0],
        f"{name.partition('.')[0]}.local",
    }


def _headers(frame_ancestors: Iterable[str]) -> dict[str, str]:
    ancestors = " ".join(
        "'self'" if each == "self" else each for each in frame_ancestors
    )
    ancestors = ancestors or "'none'"
    headers: dict[str, Any] = {
        "content-security-policy": (
            "default-src 'self'; object-src 'none'; base-uri 'none'; "
            f"form-action 'self'; frame-ancestors {ancestors}"
        ),
        "x-content-type-options": "nosniff",
        # Not no-referrer: forms would come without their origin.
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "cache-control": "no-store",
    }
    return headers if ancestors != "'none'" else headers | {"x-frame-options": "DENY"}
