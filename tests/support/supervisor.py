"""What the Supervisor of Home Assistant does to an app, by its sources (2026.11).

The rules are those of supervisor/apps/validate.py and options.py; the ingress is what
Home Assistant's and the Supervisor's proxy do to a request between them.
"""

import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NUMBER = r"-?\d*\.?\d*"
ELEMENT = re.compile(
    r"(?:bool|email|url|port|device(?:\(subsystem=[a-z]+\))?"
    rf"|(?P<kind>str|password|int|float)(?:\((?P<least>{NUMBER}),(?P<most>{NUMBER})\))?"
    r"|match\((?P<match>.*)\)|list\((?P<list>.+)\))\??"
)
"""A type in `schema`."""

MAPS = (
    "data ssl local_apps backup share media homeassistant_config all_app_configs "
    "app_config"
)
SWITCHES = (
    "init ingress ingress_stream panel_admin tmpfs apparmor audio hassio_api "
    "homeassistant_api"
)
RULES: dict[str, str] = {
    "name": ".+",
    "version": r"\d+(\.\d+)*\S*",
    "slug": "[-_.A-Za-z0-9]+",
    "description": ".+",
    "url": "https?://.+",
    "homeassistant": r"\d{4}\.\d+\.\d+",
    "stage": "stable|experimental|deprecated",
    "startup": "initialize|system|services|application|once",
    "boot": "auto|manual|manual_only",
    "backup": "hot|cold",
    "timeout": "[1-9]0|[12][0-9]0|300",
    "ingress_port": r"\d{1,5}",
    "ingress_entry": ".*",
    "panel_icon": "mdi:[a-z0-9-]+",
    "panel_title": ".+",
    "watchdog": r"(?:https?|\[PROTO:\w+\]|tcp)://\[HOST\]:(\[PORT:\d+\]|\d+).*",
    "image": r"[a-z0-9./{}_-]+",
    **dict.fromkeys(SWITCHES.split(), "True|False"),
}
"""What a value of config.yaml, as text, has to match."""

LISTS: dict[str, str] = {
    "arch": "aarch64|amd64",
    "services": "(mqtt|mysql):(provide|want|need)",
    "backup_exclude": ".+",
}
REQUIRED = ("name", "version", "slug", "description", "arch")


def faults_of(config: Mapping[str, Any]) -> Iterator[str]:
    """Return what the Supervisor would reject, or drop without a word."""
    yield from (f"{key} is missing" for key in REQUIRED if key not in config)
    for key, value in config.items():
        if key in RULES:
            if not re.fullmatch(RULES[key], str(value)):
                yield f"{key}: {value}"
        elif key in LISTS:
            wrong = [each for each in value if not re.fullmatch(LISTS[key], each)]
            yield from (f"{key}: {each}" for each in wrong)
        elif key == "map":
            yield from (
                f"map: {each}"
                for each in value
                if each["type"] not in MAPS.split()
                or each.keys() - {"type", "read_only", "path"}
            )
        elif key == "schema":
            yield from _schema_faults(value, "schema", 2)
        elif key not in ("options", "ports", "ports_description", "environment"):
            yield f"{key}: is not known"


def _schema_faults(value: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if not ELEMENT.fullmatch(value):
            yield f"{place}: {value}"
    elif depth < 0:
        yield f"{place}: is nested too deeply"
    elif isinstance(value, list):
        yield from _schema_faults(value[0], place, depth - 1)
    else:
        for key, inner in value.items():
            yield from _schema_faults(
                inner, f"{place}.{key}", depth - (place != "schema")
            )


def option_faults(schema: Any, value: Any, place: str = "options") -> Iterator[str]:
    """Return what is wrong with options of a user, or with the defaults."""
    if isinstance(schema, list):
        for each in value:
            yield from option_faults(schema[0], each, place)
    elif isinstance(schema, dict):
        yield from (f"{place}.{key}: unknown" for key in value.keys() - schema.keys())
        for key, kind in schema.items():
            first = kind[0] if isinstance(kind, list) else kind
            if key in value:
                yield from option_faults(kind, value[key], f"{place}.{key}")
            elif not (isinstance(first, str) and first.endswith("?")):
                yield f"{place}.{key}: missing"
    elif not _fits(schema, value):
        yield f"{place}: {value!r} is not {schema}"


def _fits(kind: str, value: Any) -> bool:
    found = ELEMENT.fullmatch(kind)
    assert found is not None
    if found["match"] is not None:
        return re.match(found["match"], str(value)) is not None
    if found["list"] is not None:
        return str(value) in found["list"].split("|")
    if found["kind"] in ("int", "float"):
        least, most = float(found["least"] or "-inf"), float(found["most"] or "inf")
        return isinstance(value, int | float) and least <= value <= most
    if found["kind"]:
        return isinstance(value, str)
    return not kind.startswith("bool") or isinstance(value, bool)


INGRESS = "/api/hassio_ingress/Xy-3_9"
HOME = "homeassistant.local:8123"


@contextmanager
def ingress(port: int) -> Iterator[str]:
    """Lead requests to the page at `port` as ingress does; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.removeprefix(INGRESS)
            length = int(self.headers.get("Content-Length", 0))
            headers = dict(self.headers)
            for name in ("Accept-Encoding", "Content-Length", "Connection"):
                headers.pop(name, None)
            headers["X-Hass-Source"] = "core.ingress"
            headers["X-Ingress-Path"] = INGRESS
            headers["X-Forwarded-For"] = "192.168.1.7, 172.30.32.1"
            headers["X-Forwarded-Host"] = self.headers["Host"]
            headers["X-Forwarded-Proto"] = "http"
            page = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            page.request(self.command, path, self.rfile.read(length), headers)
            answer = page.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "server"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while data := answer.read1(4096):
                self.wfile.write(data)
                self.wfile.flush()
            self.close_connection = True
            page.close()

        do_POST = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(Handler) as own:
        yield f"http://127.0.0.1:{own}{INGRESS}"


@contextmanager
def services(token: str, broker: Mapping[str, Any] | None) -> Iterator[str]:
    """The Supervisor's address, with this MQTT broker or none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {token}"
            status = 200 if allowed and broker else 400 if allowed else 401
            body: dict[str, Any] = {"result": "error", "message": "no"}
            if status == 200:
                body = {"result": "ok", "data": broker}
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="proxy")
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
