"""The download of a bundle: by HTTP or from a file, bounded, and only if it is new."""

import errno
import logging
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import httpx

from monitor import __version__
from monitor.config.rollout import RolloutSettings
from monitor.private_files import FOLDER_MODE
from monitor.runtime.bundle_file import MOST_BYTES, BundleError
from monitor.runtime.rollout_state import DOWNLOAD
from monitor.text import redact, redact_url

logger = logging.getLogger(__name__)

# They log URLs.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

TIMEOUT_SECONDS = 30.0
"""Longest silence of the server."""

TOTAL_SECONDS = 1800.0
MOST_REDIRECTS = 5
_COPY_BYTES = 2**16


class Fetched(NamedTuple):
    """A bundle that was fetched into a file of its own; nothing of it is checked."""

    path: Path
    tag: str
    """Identifies this version of it at its origin; empty: unknown."""

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class Download:
    """Fetches the bundle of one URL, again and again.  Used by one thread."""

    def __init__(self, settings: RolloutSettings, folder: Path) -> None:
        """Prepare to fetch into files in `folder`, which may not exist yet."""
        assert settings.url is not None, "built only where there is one"
        self._url = settings.url
        self._file = settings.path
        self._folder = folder
        self._tag = ""
        self._failures = 0
        self.failure = ""
        """Why the newest try has fetched nothing, a sentence; empty: it could."""

    def fetch(self, stop: threading.Event) -> Fetched | None:
        """Fetch the bundle; None: it is the one of `confirm`, or cannot be fetched.

        Raises:
            BundleError: It is too large.
        """
        try:
            fetched = self._request(stop) if self._file is None else self._copy(stop)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or redact(str(error), [self._url])
            self._fail(reason[:200] or "it does not answer")
            return None
        self.failure = ""
        if self._failures:
            logger.info("bundles are there again, after %d failures", self._failures)
            self._failures = 0
        return fetched

    def confirm(self, fetched: Fetched) -> None:
        """Fetch it no more, but only another one."""
        self._tag = fetched.tag

    def _fail(self, reason: str) -> None:
        url = self._url if self._file else redact_url(self._url)
        self.failure = f"no bundle from {url}: {reason}"
        if not self._failures:
            logger.warning("%s", self.failure)
        self._failures += 1
        self._tag = ""  # it may be what fails

    def _copy(self, stop: threading.Event) -> Fetched | None:
        # A pipe without a writer would hold up the opening for ever.
        flags = os.O_RDONLY | os.O_NONBLOCK
        with os.fdopen(os.open(self._file or "", flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            tag = f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"
            if tag == self._tag:
                return None
            parts = iter(lambda: file.read(_COPY_BYTES), b"")
            return self._save(parts, tag, stop)

    def _request(self, stop: threading.Event) -> Fetched | None:
        headers = {
            "user-agent": f"sound-monitor/{__version__}",
            # What is unpacked could be of any length.
            "accept-encoding": "identity",
            **({"if-none-match": self._tag} if self._tag else {}),
        }
        with (
            httpx.Client(
                trust_env=False,
                timeout=TIMEOUT_SECONDS,
                follow_redirects=True,
                max_redirects=MOST_REDIRECTS,
            ) as client,
            client.stream("GET", self._url, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return None
            if response.status_code != httpx.codes.OK:
                raise httpx.HTTPError(f"HTTP {response.status_code}")
            tag = response.headers.get("etag", "")
            # No other one can be sent back.
            tag = tag if tag.isascii() else ""
            return self._save(response.iter_raw(_COPY_BYTES), tag, stop)

    def _save(
        self, parts: Iterable[bytes], tag: str, stop: threading.Event
    ) -> Fetched | None:
        """Write the parts into a file; None: it has to stop."""
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=DOWNLOAD, dir=self._folder)
        fetched = Fetched(Path(name), tag)
        until, size = time.monotonic() + TOTAL_SECONDS, 0
        try:
            with os.fdopen(descriptor, "wb") as file:
                for part in parts:
                    size += len(part)
                    if size > MOST_BYTES:
                        raise BundleError(f"it is larger than {MOST_BYTES} bytes")
                    if time.monotonic() > until:
                        raise httpx.HTTPError(f"not there after {TOTAL_SECONDS:g} s")
                    if stop.is_set():
                        fetched.discard()
                        return None
                    file.write(part)
        except BaseException:
            fetched.discard()
            raise
        return fetched
