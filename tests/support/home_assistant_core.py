"""Home Assistant itself, installed in a Debian of its own, with an MQTT broker set up.

Needs root and debootstrap.  Debian 13 has the Python that it needs; both are downloaded
once, some minutes, and kept in the cache folder.
"""

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.support.debian import UnavailableError, installed_debian
from tests.support.endpoint import unused_port

VERSION = "2026.2.3"
SUITE = "trixie"
# One of its requirements has no wheel, and is compiled.
PACKAGES = (
    *("python3", "python3-venv", "python3-dev", "gcc", "libc6-dev"),
    "ca-certificates",
)
INSTALL_SECONDS = 1200.0
START_SECONDS = 120.0
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
NEVER = "2026-01-01T00:00:00+00:00"
USER, TOKEN, KEY = "1" * 32, "2" * 32, "3" * 128


def installed_home_assistant() -> Path:
    """The folder of a Debian in which Home Assistant is installed, in /ha.

    Raises:
        UnavailableError: It cannot be downloaded.
    """
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise UnavailableError("needs root and debootstrap")
    system = installed_debian(SUITE, PACKAGES)
    is_installed = system / "ha" / VERSION
    if is_installed.exists():
        return system
    for file in ("/etc/resolv.conf", "/etc/hosts", f"/{CERTIFICATES}"):
        if Path(file).exists():
            shutil.copy(file, system / file[1:])
    _run("chroot", str(system), "python3", "-m", "venv", "/ha")
    wanted = (f"homeassistant=={VERSION}", "paho-mqtt==2.1.0")
    _run("chroot", str(system), "/ha/bin/pip", "install", "-q", *wanted)
    is_installed.touch()
    return system


def _run(*argv: str) -> None:
    try:
        subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = error.stdout[-500:]
        raise UnavailableError(f"{' '.join(argv)} failed: {said}") from None


class HomeAssistant:
    """A running Home Assistant.  A context manager: it is over afterwards."""

    def __init__(self, system: Path, log: Path, broker_port: int) -> None:
        """Set it up, as a user would on its pages, and start it."""
        self.port = unused_port()
        self._log = log
        folder = system / "config"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / ".storage").mkdir(parents=True)
        http = f"http: {{server_host: 127.0.0.1, server_port: {self.port}}}"
        (folder / "configuration.yaml").write_text(f"{http}\napi:\n")
        for key, version, minor, data in _storage(broker_port):
            whole = {"version": version, "minor_version": minor, "key": key}
            file = folder / ".storage" / key
            file.write_text(json.dumps({**whole, "data": data}))
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["chroot", str(system), "/ha/bin/hass", "-c", "/config"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "HomeAssistant":
        def answers() -> bool:
            assert self._process.poll() is None, self.log
            with suppress(OSError):
                return "mqtt" in self._call("config")["components"]
            return False

        self.wait_until(answers, START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def states(self) -> dict[str, dict[str, Any]]:
        """The states of all entities, by their ids."""
        return {each["entity_id"]: each for each in self._call("states")}

    def state(self, entity: str) -> str | None:
        """The state of an entity; None: there is none."""
        try:
            return str(self._call(f"states/{entity}")["state"])
        except HTTPError as error:
            if error.code != 404:
                raise
            return None

    def act(self, service: str, entity: str, **data: object) -> None:
        """Call a service, as number/set_value."""
        self._call(f"services/{service}", {"entity_id": entity, **data})

    def image(self, entity: str) -> bytes:
        """The picture of an image entity."""
        return self._fetch(f"image_proxy/{entity}", None)

    def wait_until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.states()}\n{self.log}"
            time.sleep(0.1)

    def _call(self, path: str, body: object = None) -> Any:
        return json.loads(self._fetch(path, body))

    def _fetch(self, path: str, body: object) -> bytes:
        request = Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {_access_token()}",
                "Content-Type": "application/json",
            },
        )
        with urlopen(request, timeout=10) as answer:
            return bytes(answer.read())


def _storage(broker_port: int) -> list[tuple[str, int, int, dict[str, Any]]]:
    """Key, version and content of the files in which a set-up is kept."""
    entry = {
        "entry_id": "broker",
        "domain": "mqtt",
        "title": "broker",
        "source": "user",
        "version": 1,
        "minor_version": 1,
        "options": {},
        "unique_id": None,
        "data": {"broker": "127.0.0.1", "port": broker_port},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "disabled_by": None,
        "discovery_keys": {},
        "subentries": [],
        "created_at": NEVER,
        "modified_at": NEVER,
    }
    user = {
        "id": USER,
        "name": "test",
        "group_ids": ["system-admin"],
        "is_owner": True,
        "is_active": True,
        "system_generated": False,
        "local_only": False,
    }
    token = {
        "id": TOKEN,
        "user_id": USER,
        "token": KEY,
        "jwt_key": KEY,
        "client_id": None,
        "client_name": "test",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": NEVER,
        "access_token_expiration": 315_360_000.0,
        "last_used_at": None,
        "last_used_ip": None,
        "expire_at": None,
        "credential_id": None,
        "version": VERSION,
    }
    groups = [{"id": "system-admin", "name": "Administrators"}]
    auth = {"users": [user], "groups": groups, "credentials": []}
    done = ["user", "core_config", "analytics", "integration"]
    return [
        ("core.config_entries", 1, 5, {"entries": [entry]}),
        ("auth", 1, 1, {**auth, "refresh_tokens": [token]}),
        ("onboarding", 4, 1, {"done": done}),
    ]


def _access_token() -> str:
    """A JSON web token (RFC 7519) that Home Assistant takes for its user's own."""
    now = int(time.time())
    parts = (
        {"alg": "HS256", "typ": "JWT"},
        {"iss": TOKEN, "iat": now, "exp": now + 3600},
    )
    signed = b".".join(_base64(json.dumps(part).encode()) for part in parts)
    digest = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
    return b".".join((signed, _base64(digest))).decode()


def _base64(text: bytes) -> bytes:
    return base64.urlsafe_b64encode(text).rstrip(b"=")
