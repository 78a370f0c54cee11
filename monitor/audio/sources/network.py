"""Streams of cameras and servers: RTSP and HTTP, read by ffmpeg in a child process."""

import functools
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit, urlunsplit

from monitor.audio.ring import Samples
from monitor.audio.sources.command import CommandStream
from monitor.audio.sources.ffmpeg import (
    REDIRECTED,
    Ffmpeg,
    Offer,
    Request,
    find_fault,
    find_offer,
    invocation,
    is_redirected,
    without_secrets,
)
from monitor.audio.sources.pcm import PcmFormat
from monitor.config.audio import PASSWORD, SourceSettings
from monitor.errors import ConfigError, EndOfSourceError, SourceError, UsageError
from monitor.tls import tls_context

logger = logging.getLogger(__name__)

_OPENING_SECONDS = 10.0
"""Longer than the time limit of ffmpeg, which can say why."""

_STALL_SECONDS = 5.0
"""Wireless cameras are silent for seconds, and then send all that they held back."""

_PLAYLIST_SECONDS = 20.0
"""The same for a playlist, of which the next segment may be so late."""

_WHOLE_SHARE = 0.9
"""So much of a recording is all of it: the durations of some formats are estimates."""

_FASTEST = 1.001
"""A recording is played so little too fast that it may be a live stream as well: the
header of some states a length, and their clock must not be faster than ours."""

_WORDS_SECONDS = 1.0
"""Longest wait for what ffmpeg says before the samples that it has sent."""

_VERSION_SECONDS = 10.0
_NEWEST = 99
"""Stands for a version that ffmpeg does not state, as one built from its repository."""


_BEFORE_HEADER = PcmFormat(44_100, 1, "s16le")
"""Stands for the format until ffmpeg has written its header."""


_NOT_RAW = re.compile(
    rb"OggS|fLaC|<!DOCT|<!doct|<html|<HTML|\xff[\xf2\xf3\xfa\xfb][\x10-\xef]"
)
_KINDS = {b"O": "Ogg", b"f": "FLAC", b"<": "a web page"}
"""What a stream is, by its first byte; else it is MP3."""


class Network:
    """A camera or a stream server, reachable or not."""

    def __init__(
        self, settings: SourceSettings, read_password: Callable[[], str] | None
    ) -> None:
        """Prepare to read the URL of `settings`.

        `read_password` is called whenever the stream is opened: the password may
        change.

        Raises:
            UsageError: There is no ffmpeg, no password, or no certificate in `ca_file`.
        """
        self._settings = settings
        self._read_password = read_password
        url = settings.input
        self._is_camera = self._audio_alone = url.startswith("rtsp")
        self._has_delivered = False
        self._raw: PcmFormat | None = None
        if settings.is_raw and settings.sample_rate:
            self._raw = PcmFormat(
                settings.sample_rate, settings.channels or 1, settings.sample_format
            )
        request = self._request()
        if settings.ca_file is not None:
            tls_context(settings.ca_file, f"{url}: ca_file")
        if shutil.which("ffmpeg") is None:
            raise UsageError(
                f"{url}: it is read by the program ffmpeg, which is not installed; "
                "on Debian: apt-get install ffmpeg"
            )
        self.description = f"{'camera' if request.is_rtsp else 'stream'} {url!r}"
        self.opening_seconds = _PLAYLIST_SECONDS if request.is_hls else _OPENING_SECONDS
        self.stall_seconds = _PLAYLIST_SECONDS if request.is_hls else _STALL_SECONDS

    def open(self) -> "NetworkStream":
        """Start ffmpeg.

        Raises:
            SourceError: It does not start, or the password cannot be read.
        """
        try:
            request = self._request()
        except ConfigError as error:
            raise SourceError(str(error)) from error
        return NetworkStream(request, self)

    def delivers(self) -> None:
        """Keep the way in which the first samples have come."""
        if not self._has_delivered and not self._audio_alone and self._is_camera:
            logger.warning(
                "%s sends nothing when it is asked for its sound alone: it is asked "
                "for the picture too, which takes more of the network",
                self.description,
            )
        self._has_delivered = True

    def is_mute(self) -> None:
        """Ask for the whole stream next time, or again for the sound alone.

        Called when a camera that offers sound has sent none.
        """
        if not self._has_delivered and self._is_camera:
            self._audio_alone = not self._audio_alone

    def _request(self) -> Request:
        settings = self._settings
        url, login = settings.input, quote(settings.username or "", safe="")
        secrets: tuple[str, ...] = ()
        if self._read_password is not None:
            password = self._read_password()
            quoted = quote(password, safe="")
            secrets = (quoted, password)
            url, login = url.replace(PASSWORD, quoted), f"{login}:{quoted}"
        if settings.username is not None:
            parts = urlsplit(url)
            url = urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
            secrets = (login, *secrets)
        return Request(
            url,
            secrets,
            self._audio_alone,
            self._raw,
            settings.verify_certificate,
            settings.ca_file,
        )


class NetworkStream(CommandStream):
    """The samples of one connection."""

    def __init__(self, request: Request, source: Network) -> None:
        argv, script = invocation(request, installed_ffmpeg())
        super().__init__(argv, _BEFORE_HEADER, source.description, script)
        self._request = request
        self._source = source
        self._delivered = False
        self._began = time.monotonic()
        self._seconds = 0.0
        self._played_since: float | None = None  # None: it is live, or not known

    @property
    def offer(self) -> Offer:
        """What the stream offers, as far as it is known."""
        return find_offer(self._lines)

    @property
    def is_described(self) -> bool:
        """Whether the format is known, by the protocol or the configuration."""
        return self._request.is_rtsp or self._request.raw is not None

    def read(self, timeout_seconds: float) -> Samples | None:
        """Wait for samples; see `CommandStream`.

        A recording is played at its own pace, however fast it comes: the time of a
        sound is that of its arrival.
        """
        if self._played_since is not None:
            due = self._played_since + self._seconds / _FASTEST
            wait = due - time.monotonic()
            time.sleep(max(0.0, min(wait, timeout_seconds)))
            if wait > timeout_seconds:
                return None
        samples = super().read(timeout_seconds)
        if samples is not None:
            self._seconds += samples.shape[1] / self.sample_rate
            if not self._delivered:
                self._check_encryption()
                self._check_raw(samples)
                self._delivered = True
                self._source.delivers()
                if self.offer.seconds:
                    self._played_since = time.monotonic()
        return samples

    def _check_raw(self, samples: Samples) -> None:
        """Raise if what is to be heard as raw samples begins as something else."""
        raw = self._request.raw
        if raw is None or raw.encoding != "s16le":
            return
        head = (samples.T[:8] * 32768.0).astype("<i2").tobytes()
        if found := _NOT_RAW.match(head):
            kind = _KINDS.get(found[0][:1], "MP3")
            advice = "" if kind == "a web page" else "; remove sample_rate"
            raise SourceError(f"{self._description} is {kind}, no raw samples{advice}")

    def close(self) -> None:
        """End ffmpeg."""
        super().close()
        if not self._delivered and self.offer.sound is not None:
            self._source.is_mute()

    def _check_encryption(self) -> None:
        """Raise an error if a verified stream was redirected to one by http."""
        request = self._request
        if request.is_rtsp or request.is_hls or not request.is_verified:
            return
        until = time.monotonic() + _WORDS_SECONDS
        while (found := is_redirected(self._lines)) is None:
            if time.monotonic() >= until:
                return
            time.sleep(0.01)  # the words come by another pipe than the samples
        if found:
            raise SourceError(f"{self._description} {REDIRECTED}")

    @property
    def _lines(self) -> list[str]:
        return without_secrets(self._process.error_lines, self._request.secrets)

    def _failure(self, ending: str | None) -> SourceError | EndOfSourceError:
        if ending is not None and ending.startswith("was killed"):
            # Not all of it: the words of ffmpeg follow.
            return SourceError(f"{self._description}: ffmpeg {ending.split(':')[0]}")
        fault = find_fault(
            self._lines,
            self._request,
            delivered=self._delivered,
            seconds=time.monotonic() - self._began,
        )
        sentence, seconds = fault.sentence, self.offer.seconds
        is_end = fault.is_end and self._delivered and not self._request.is_rtsp
        if is_end and seconds and self._seconds >= _WHOLE_SHARE * seconds:
            sentence = (
                f"is a recording of {self._seconds:.1f} s, which is over: it is played "
                "again from the start each time"
            )
        sentence = f"{self._description} {sentence}"
        return SourceError(
            sentence, fault.retry_seconds, is_end=is_end, is_stall=fault.is_stall
        )


@functools.cache
def installed_ffmpeg() -> Ffmpeg:
    """Return which ffmpeg is installed.

    Raises:
        SourceError: It does not run.
    """
    found = re.match(rb"ffmpeg version n?(\d+)\.", _answer("-version"))
    return Ffmpeg(
        _NEWEST if found is None else int(found[1]),
        b" -tls_verify " in _answer("-hide_banner", "-h", "demuxer=rtsp"),
    )


def _answer(*arguments: str) -> bytes:
    try:
        return subprocess.run(  # noqa: S603 - our own arguments
            ["ffmpeg", *arguments],  # noqa: S607 - the one that PATH finds
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SourceError(f"ffmpeg does not run: {error}") from error
