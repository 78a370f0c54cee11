"""The webhook: POST an alert to a URL.

Signatures after Standard Webhooks, https://www.standardwebhooks.com.
"""

import base64
import binascii
import contextlib
import hmac
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from monitor import __version__
from monitor.config.hooks import WebhookSettings, check_url
from monitor.errors import ConfigError
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import render
from monitor.sinks.alerts.hooks import Delivered, Outcome, Refused, Retry
from monitor.sinks.alerts.secrets import (
    read_one_line,
    read_secret,
    read_url,
)
from monitor.text import printable, redact, redact_url, secret_parts
from monitor.tls import tls_context

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret, as the specification demands."""


def read_keys(text: str, place: str) -> list[bytes]:
    """Read signing secrets: whsec_ and Base64, with white space between them.

    Raises:
        ConfigError: One of them has another form; the message does not hold it.
    """
    keys = []
    for number, word in enumerate(text.split(), 1):
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(
                f"{place}: secret {number} is not {PREFIX} followed by Base64"
            ) from None
        if not SHORTEST <= len(key) <= LONGEST:
            raise ConfigError(
                f"{place}: secret {number} has {len(key)} bytes; from {SHORTEST} to "
                f"{LONGEST} are needed, as from: openssl rand -base64 32"
            )
        keys.append(key)
    return keys


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message with every key, so that either side may change its key first."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (hmac.digest(key, content, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures)


# These log URLs and headers, and with them secrets.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

RETRIED = frozenset({408, 425, 429})
SEEN_REDIRECTS = frozenset({301, 302, 303})
"""By them, many services say that they have accepted a POST; see `accept_redirect`."""

REPEATED_REDIRECTS = frozenset({301, 302, 307, 308})
"""They are followed by the same POST, as far as they stay with the host."""

REDIRECTS = SEEN_REDIRECTS | REPEATED_REDIRECTS
MAX_REDIRECTS = 3
MAX_DETAIL = 200
MAX_AGE_SECONDS = 120.0
"""Difference of the clocks at which a receiver may doubt a signature; most take 300 s.
"""

MAX_WAIT_SECONDS = 3600.0
"""Longest pause that an endpoint can ask for."""


class Webhook:
    """Posts alerts to one URL, over a connection that is kept for a while.

    An answer from 200 to 299 is a delivery once its header is there, whatever becomes
    of its body.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        place: str,
        environ: Mapping[str, str],
        seconds_since_epoch: Callable[[], float] = time.time,
    ) -> None:
        """Read secrets and certificates; connect to nothing: see `build_hook`.

        `seconds_since_epoch` is the wall clock, whose time is signed.
        """
        self.total_seconds = settings.total_seconds
        self._settings = settings
        self._now = seconds_since_epoch
        self._url = read_url(settings.url, settings.url_secret, place, environ)
        self.target = redact_url(self._url)
        self._keys = _keys(settings, place, environ)
        self._headers, self._secrets = _headers(settings, place, environ)
        # A server may quote the path of the request in its answer.
        path = self._url.partition(urlsplit(self._url).netloc)[2]
        self._secrets += [self._url, *secret_parts(path)]
        self._socket: socket.socket | None = None
        self._cancelled = False
        self._client = httpx.Client(
            # No proxies or passwords from the environment: all that is used stands in
            # the configuration.
            trust_env=False,
            verify=tls_context(settings.ca_file, f"{place}.ca_file"),
            timeout=httpx.Timeout(
                settings.total_seconds, connect=settings.connect_seconds
            ),
            limits=httpx.Limits(max_connections=1),
        )

    def deliver(self, alert: Alert) -> Outcome:
        """Post one alert.  Blocks; `cancel` ends it."""
        if self._cancelled:
            self._cancelled = False
            return Retry("cancelled")
        try:
            body = self._body(alert)
            headers = self._headers | self._signed(alert.id, body)
            return self._post(body, headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return Retry(self._explain(error))
        finally:
            # Not at the beginning: it may have been cancelled before it began.
            self._cancelled = False
            self._client.cookies.clear()

    def cancel(self) -> None:
        """Shut down the socket of the delivery, which wakes its thread."""
        self._cancelled = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _body(self, alert: Alert) -> bytes:
        template = self._settings.body
        if template is None:
            return json.dumps(dict(alert.body), allow_nan=False).encode()
        return render(template, self._settings.content_type, alert.body).encode()

    def _signed(self, message_id: str, body: bytes) -> dict[str, str]:
        timestamp = int(self._now())
        headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if self._keys:
            signature = sign(self._keys, message_id, timestamp, body)
            headers["webhook-signature"] = signature
        return headers

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Outcome:
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            with self._client.stream(
                "POST",
                url,
                content=body,
                headers=dict(headers),
                extensions={"trace": self._follow_socket},
            ) as response:
                code = response.status_code
                if code not in REDIRECTS:
                    return self._outcome(response)
                location = response.headers.get("location", "")
            if self._settings.accept_redirect and code in SEEN_REDIRECTS:
                return Delivered(f"HTTP {code}")
            target = _target(url, location)
            if code not in REPEATED_REDIRECTS or not _may_follow(url, target):
                return _redirected(code, target)
            url = target
        return Refused(f"more than {MAX_REDIRECTS} redirects")

    def _outcome(self, response: httpx.Response) -> Outcome:
        status = response.status_code
        try:
            answer = self._read(response)
        except httpx.HTTPError:
            answer = ""  # the status is known
        if response.is_success:
            return Delivered(f"HTTP {status}")
        reason = f"HTTP {status}: {answer}" if answer else f"HTTP {status}"
        date = _timestamp(response.headers.get("date", ""))
        if status in RETRIED or status >= 500:
            asked = response.headers.get("retry-after")
            return Retry(reason, _wait_seconds(asked, date, self._now()))
        if (
            self._keys
            and date is not None
            and abs(date - self._now()) > MAX_AGE_SECONDS
        ):
            return Retry(f"{reason}; the signature has the time of a wrong clock")
        return Refused(reason)

    def _read(self, response: httpx.Response) -> str:
        """Read the answer up to the limit; return its beginning as one line."""
        data = b""
        limit = self._settings.response_kib * 1024
        # Raw: a compressed answer could be of any size.
        for chunk in response.iter_raw():
            data = (data + chunk)[: 4 * MAX_DETAIL]
            if response.num_bytes_downloaded > limit:
                break
        text = redact(data.decode("utf-8", "replace"), self._secrets)
        return printable(" ".join(text.split()))[:MAX_DETAIL]

    def _follow_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of the connection, for `cancel`."""
        if event in (
            "connection.connect_tcp.complete",
            "connection.start_tls.complete",
        ):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._cancelled:
                self.cancel()

    def _explain(self, error: Exception) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return f"no connection in {self._settings.connect_seconds:g} s"
        if isinstance(error, httpx.TimeoutException):
            return f"no answer in {self._settings.total_seconds:g} s"
        # Of the system, without its number: "[Errno 111] Connection refused".
        text = re.sub(r"^\[Errno -?\d+\] ", "", redact(str(error), self._secrets))
        if text and isinstance(error, httpx.ConnectError):
            return f"no connection: {text}"[:MAX_DETAIL]
        return f"{type(error).__name__}: {text}"[:MAX_DETAIL]


def _keys(
    settings: WebhookSettings, place: str, environ: Mapping[str, str]
) -> list[bytes]:
    keys = []
    if settings.secret_file is not None:
        key = f"{place}.secret_file"
        text = read_secret(f"file:{settings.secret_file}", key, environ)
        keys += read_keys(text, key)
    if settings.secret is not None:
        key = f"{place}.secret"
        keys += read_keys(read_secret(settings.secret, key, environ), key)
    return keys


def _headers(
    settings: WebhookSettings, place: str, environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The headers of every request, and the secrets among them."""
    secrets: dict[str, str] = {}
    if settings.bearer is not None:
        token = read_one_line(settings.bearer, f"{place}.bearer", environ)
        secrets["authorization"] = f"Bearer {token}"
    if settings.basic_user is not None and settings.basic_password is not None:
        key = f"{place}.basic_password"
        password = read_secret(settings.basic_password, key, environ)
        pair = f"{settings.basic_user}:{password}".encode()
        secrets["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    for name, reference in settings.secret_headers.items():
        key = f"{place}.secret_headers.{name}"
        secrets[name.lower()] = read_one_line(reference, key, environ)
    plain = {name.lower(): value for name, value in settings.headers.items()}
    headers = {
        "user-agent": f"sound-monitor/{__version__}",
        **plain,
        **secrets,
        "content-type": settings.content_type,
    }
    words = [word for value in secrets.values() for word in (value, value.split()[-1])]
    return headers, words


def _target(url: str, location: str) -> str:
    """The target of a redirect; empty if there is none, or it is not a URL."""
    try:
        return urljoin(url, location) if location else ""
    except ValueError:
        return ""


def _may_follow(url: str, target: str) -> bool:
    """Test whether a redirect stays with the host, and encrypted if it was."""
    try:
        check_url(target)
    except ValueError:
        return False
    before, after = urlsplit(url), urlsplit(target)
    if before.hostname != after.hostname:
        return False
    if (before.scheme, before.port) == (after.scheme, after.port):
        return True
    return (before.scheme, after.scheme) == ("http", "https") and (
        before.port in (None, 80) and after.port in (None, 443)
    )


def _redirected(code: int, target: str) -> Refused:
    """The outcome of a redirect that is not followed."""
    advice = "give the URL that takes the alerts"
    if code in SEEN_REDIRECTS:
        advice += ", or set accept_redirect: true if the alert was accepted"
    where = f"{redact_url(target):.{MAX_DETAIL}}" if target else "nowhere"
    return Refused(
        f"HTTP {code}: redirects to {where}, which is not followed; {advice}"
    )


def _wait_seconds(asked: str | None, date: float | None, now: float) -> float | None:
    """Parse Retry-After, which is seconds or a date; None if it is neither.

    A date is compared with `date` of the answer: our own clock may be wrong.
    """
    if asked is None:
        return None
    if re.fullmatch(r"\d{1,9}", asked.strip()):
        return min(float(asked), MAX_WAIT_SECONDS)
    until = _timestamp(asked)
    if until is None:
        return None
    left = until - (now if date is None else date)
    return min(max(0.0, left), MAX_WAIT_SECONDS)


def _timestamp(date: str) -> float | None:
    """Seconds since 1970 of a date in a header; None if it is none."""
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None
