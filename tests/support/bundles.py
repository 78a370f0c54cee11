"""Bundles of a fleet, signed by keys of the tests, and a server that offers one."""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.runtime.bundle_file import MAGIC, BundleManifest, write_bundle
from monitor.runtime.rollout_state import Offered

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))


def public(key: Ed25519PrivateKey = KEY) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def made(
    path: Path,
    version: int = 1,
    settings: dict[str, Any] | None = None,
    model: bytes = b"",
    key: Ed25519PrivateKey = KEY,
    share: float = 1.0,
) -> Path:
    """A bundle as `rollout make` writes it, but unchecked."""
    data = {"version": version, "share": share, "settings": settings or {}}
    if model:
        data["model_bytes"] = len(model)
    write_bundle(path, BundleManifest.model_validate(data), model, key)
    return path


def offered(version: int, key: Ed25519PrivateKey = KEY) -> Offered:
    """What a state says of a bundle."""
    return Offered(version=version, digest=f"of {version}", keys=(public(key),))


def signed(path: Path, payload: bytes, key: Ed25519PrivateKey = KEY) -> Path:
    """A bundle that says anything, as only the owner of a key could make it."""
    raw = key.public_key().public_bytes_raw()
    signature = key.sign(MAGIC + raw + hashlib.sha512(payload).digest())
    lines = (base64.b64encode(it) + b"\n" for it in (raw, signature))
    path.write_bytes(MAGIC + b"".join(lines) + payload)
    return path


class BundleServer:
    """Offers the bytes of `content`, with their hash as ETag."""

    def __init__(self) -> None:
        self.content = b""
        self.code = 200
        self.tag: str | None = None
        """ETag instead of the hash."""

        self.headers: dict[str, str] = {}
        self.answers: list[int] = []

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port; yield the URL."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/fleet.bundle"
            finally:
                server.shutdown()
                thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        tag = self.tag or f'"{hashlib.sha256(self.content).hexdigest()}"'
        is_known = request.headers.get("if-none-match") == tag
        code = 304 if is_known and self.code == 200 else self.code
        self.answers.append(code)
        request.send_response(code)
        request.send_header("etag", tag)
        body = self.content if code == 200 else b""
        request.send_header("content-length", str(len(body)))
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # it may have enough of it
            request.wfile.write(body)
