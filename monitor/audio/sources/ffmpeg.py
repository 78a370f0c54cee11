"""ffmpeg as the reader of a stream: its arguments, its script, and what it says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from monitor.audio.sources import certificate
from monitor.audio.sources.pcm import PcmFormat

TIMEOUT_SECONDS = 8.0
"""Wait of ffmpeg for the other machine.

A connection attempt is repeated after 1, 3 and 7 s, so one that begins while a camera
is starting succeeds at most 4 s after the camera has.
"""

_ANALYSIS_SECONDS = 0.5
"""Sound that ffmpeg looks at before it writes any; its default is 5 s."""

REFUSED_SECONDS = 60.0
"""Time between two logins that are refused: cameras lock out who tries too often."""

_TIMEOUT_OPTION_FROM = 5
"""From this version on ffmpeg has the option `timeout`, before it was `stimeout`.

From then on, a script can have options as well.
"""

_HTTP_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto,data"
"""What a stream by HTTP may open: no files and no ports, whatever it asks for."""

_PROTOCOLS = f"pipe,rtsp,rtsps,rtp,udp,{_HTTP_PROTOCOLS}"
"""What the script of a camera may open."""


@dataclass(frozen=True, slots=True)
class Request:
    """A stream, and how it is asked for."""

    url: str
    """The whole URL, with user and password."""

    secrets: tuple[str, ...] = ()
    """Parts of the URL that are secret; they are never program arguments."""

    audio_alone: bool = True
    """Ask a camera for its sound alone, without the picture."""

    raw: PcmFormat | None = None
    """Format of the samples if the stream says nothing about it."""

    verify_certificate: bool = True
    """Verify the certificate of a stream by TLS."""

    ca_file: str | None = None
    """PEM file with the certificates to trust; None: those of the system."""

    @property
    def is_rtsp(self) -> bool:
        """Whether it is a camera."""
        return self.url.startswith("rtsp")

    @property
    def is_encrypted(self) -> bool:
        """Whether it comes by TLS."""
        return self.url.startswith(("rtsps:", "https:"))

    @property
    def is_verified(self) -> bool:
        """Whether there is a certificate to verify."""
        return self.verify_certificate and self.is_encrypted

    @property
    def is_hls(self) -> bool:
        """Whether the stream is a playlist of segments, each some seconds of sound."""
        return not self.is_rtsp and ".m3u8" in self.url


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """The installed ffmpeg."""

    version: int
    """The main version."""

    has_camera_tls: bool = False
    """Whether it has options of TLS for cameras."""


def invocation(request: Request, ffmpeg: Ffmpeg) -> tuple[list[str], bytes]:
    """Return the arguments of ffmpeg, and what it reads from standard input.

    It writes 16-bit WAV to standard output, at the rate and with the channels of the
    stream.  Version 4 reads a secret URL without a time limit, and with the picture.
    """
    options = _options(request, ffmpeg)
    has_options = not request.secrets or ffmpeg.version >= _TIMEOUT_OPTION_FROM
    if request.secrets:
        protocols = _PROTOCOLS if request.is_rtsp else f"pipe,{_HTTP_PROTOCOLS}"
        place = ["-f", "concat", "-safe", "0", "-protocol_whitelist", protocols]
        place += ["-i", "pipe:0"]
        script = _script(request, options if has_options else {})
    else:
        place = [part for key, value in options.items() for part in (f"-{key}", value)]
        if request.raw is not None:
            place += ["-f", request.raw.encoding, "-ar", str(request.raw.sample_rate)]
            place += ["-ac", str(request.raw.channels)]
        if not request.is_rtsp:
            place += ["-protocol_whitelist", _HTTP_PROTOCOLS]
        place += ["-i", request.url]
        script = b""
    # A playlist would deliver seconds of sound at once.
    pace = ["-re"] if request.is_hls else []
    head = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-v", "level+verbose"]
    sound = ["-map", "0:a:0", "-c:a", "pcm_s16le"]
    # The default would be to wait for 32 KiB.
    output = ["-flush_packets", "1", "-f", "wav", "-"]
    argv = [*head, *pace, *place, *sound, *output]
    # No version verifies all of it itself: see `certificate`.
    if request.is_verified and (request.is_rtsp or not has_options):
        parts = urlsplit(request.url)
        port = parts.port or (322 if request.is_rtsp else 443)
        host = parts.hostname or ""
        argv = certificate.command_line(host, port, request.ca_file, argv)
    return argv, script


def _options(request: Request, ffmpeg: Ffmpeg) -> dict[str, str]:
    limit = str(round(TIMEOUT_SECONDS * 1e6))
    tls: dict[str, str] = {}
    if request.is_encrypted and (ffmpeg.has_camera_tls or not request.is_rtsp):
        # Beside the connection before.  A camera's in `ca_file` may have any name.
        verifies = not (request.is_rtsp and request.ca_file) and request.is_verified
        tls = {"tls_verify": str(int(verifies))}
        if verifies and request.ca_file:
            tls["ca_file"] = request.ca_file
    if request.is_hls:
        return {"rw_timeout": limit} | tls
    analysis = {"analyzeduration": str(round(_ANALYSIS_SECONDS * 1e6))}
    if not request.is_rtsp:
        return {"rw_timeout": limit} | analysis | tls
    timeout = "timeout" if ffmpeg.version >= _TIMEOUT_OPTION_FROM else "stimeout"
    options = {"rtsp_transport": "tcp", timeout: limit} | analysis | tls
    return options | ({"allowed_media_types": "audio"} if request.audio_alone else {})


def _script(request: Request, options: dict[str, str]) -> bytes:
    url = request.url
    if request.is_rtsp and not options:  # ffmpeg takes the transport out of the query
        url += "&tcp" if "?" in url else "?tcp"
    lines = ["ffconcat version 1.0", f"file '{url}'"]
    lines += [f"option {key} {_quoted(value)}" for key, value in options.items()]
    return "\n".join([*lines, ""]).encode()


def _quoted(value: str) -> str:
    if value.isalnum():
        return value
    return "'" + value.replace("'", r"'\''") + "'"


_LINE = re.compile(
    r"(?:\[[^]]* @ 0x[0-9a-f]+\] )*(?:\[(?P<level>[a-z]+)\] )?(?P<text>.*)"
)
_DURATION = re.compile(r"Duration: (\d+):(\d+):(\d+\.\d+)")
_TAG = re.compile(r" \([^()]+ / 0x[0-9A-F]+\)")
"""The number of a codec in its container, which says nothing to people."""

_SOUND = re.compile(r"Stream #0:\d+.*?: Audio: (?P<sound>.+)")
_PICTURE = re.compile(r"Stream #0:\d+.*?: Video: (?P<picture>\w+)")
_MEDIA = re.compile(r"m=(audio|video) \d+ \S+ (\d+)")
_CODEC = re.compile(r"a=rtpmap:(\d+) ([^/ ]+)")
_STATIC_CODECS = {"0": "PCMU", "8": "PCMA", "26": "JPEG", "96": "unknown"}
_NO_SOUND = ("matches no streams", "does not contain any stream")
_REFUSED = re.compile(r"40[13] (Unauthorized|Forbidden)")
_UNTRUSTED = re.compile(r"certificate( verify failed| failed verif|'s owner|: )")
_NO_TLS = re.compile(
    r"no TLS at this port: (.+)|(wrong version number|unexpected TLS packet)"
)
_NO_TLS_OPTION = re.compile(r"Option (ca_file|tls_verify) not found")
"""What ffmpeg says if a stream by https was redirected to one by http."""

_UNUSED = "Unused options for"
"""What it says of the same in a script, and goes on."""

_OPENED = "Stream mapping"
"""What it says once the stream is open, before the first samples."""

REDIRECTED = (
    "redirects to an address without encryption (http), which is not heard: have the "
    "server keep to https, or write the address by http as input"
)

_BEFORE_REASON = re.compile(r"certificate verify failed: |error:\w+:SSL routines::")
_PLACE = re.compile(r"(pipe:0|[a-z]+://\S+): ")
_FOREIGN = re.compile(
    r"Invalid data found when processing input|Connection reset by peer|"
    r"400 Bad Request|Stream ends prematurely"
)
_NOT_FOUND = re.compile(r"404 (Stream )?Not Found")
_UNREACHABLE = re.compile(
    r"Connection refused|Connection timed out|Operation timed out|No route to host|"
    r"Network is unreachable|Host is unreachable|Host is down|"
    r"Name or service not known|Temporary failure in name resolution|"
    r"No address associated with hostname"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a stream offers, as far as ffmpeg has said."""

    sound: str | None
    """Codec, rate and channels: "pcm_mulaw, 8000 Hz, mono"; or the codec alone."""

    picture: str | None
    """Codec of the picture."""

    is_known: bool
    """False until ffmpeg has the description of the stream."""

    seconds: float | None = None
    """Duration of a recording; None: it has no end that is known."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why ffmpeg could not go on."""

    sentence: str
    """The end of a sentence that begins with the stream."""

    retry_seconds: float = 0.0
    is_end: bool = False
    """Whether ffmpeg has found none: the stream has ended."""

    is_stall: bool = False
    """Whether the other machine is there, and answers nothing."""


def without_secrets(lines: Sequence[str], secrets: Sequence[str]) -> list[str]:
    """Return the lines of ffmpeg as others may read them."""
    for secret in secrets:
        lines = [line.replace(secret, "***") for line in lines]
    return list(lines)


def is_redirected(lines: Sequence[str]) -> bool | None:
    """Whether a verified stream comes from an address by http; None: not known yet.

    For a script; without one, ffmpeg ends by itself.
    """
    texts = [_text(line) for line in lines]
    if any(text.startswith(_UNUSED) for text in texts):
        return True
    return False if any(text.startswith(_OPENED) for text in texts) else None


def find_offer(lines: Sequence[str]) -> Offer:
    """Return what the stream offers, from the lines of ffmpeg's standard error."""
    texts = [_text(line) for line in lines]
    end = next((n for n, it in enumerate(texts) if it.startswith("Stream mapp")), None)
    texts = texts[:end]
    sounds = [
        _TAG.sub("", found["sound"]) for it in texts if (found := _SOUND.search(it))
    ]
    pictures = [found["picture"] for it in texts if (found := _PICTURE.search(it))]
    codecs = {found[1]: found[2] for it in texts if (found := _CODEC.match(it))}
    described = {
        found[1]: codecs.get(found[2], _STATIC_CODECS.get(found[2], "unknown"))
        for it in texts
        if (found := _MEDIA.match(it))
    }
    is_known = any(it.startswith(("Input #0", "v=0", "m=")) for it in texts)
    sound = ", ".join(sounds[0].split(", ")[:3]) if sounds else described.get("audio")
    durations = [
        int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
        for it in texts
        if (found := _DURATION.match(it))
    ]
    return Offer(
        sound,
        next(iter(pictures), described.get("video")),
        is_known,
        next(iter(durations), None),
    )


def find_fault(
    lines: Sequence[str], request: Request, *, delivered: bool, seconds: float = 0.0
) -> Fault:
    """Return the reason of an end, from the lines of ffmpeg's standard error.

    `delivered` is whether samples had come before it, `seconds` the time since the
    stream was asked for.
    """
    levels = [found for line in lines if (found := _LINE.fullmatch(line))]
    errors = [found["text"] for found in levels if found["level"] in ("error", "fatal")]
    errors = [
        _PLACE.sub("", text)
        for text in errors
        if not text.startswith("Impossible to open")
    ]
    everything = " ".join(errors)
    offer = find_offer(lines)
    if refusal := _REFUSED.search(everything):
        return _refused(refusal[0], request)
    for text in filter(_UNTRUSTED.search, errors):
        return Fault(_untrusted(_BEFORE_REASON.sub("", text).rstrip("."), request))
    if found := next(filter(None, map(_NO_TLS.search, errors)), None):
        return Fault(
            f"has no TLS at this port ({found[1] or found[2]}): check the port, or "
            "write rtsp instead of rtsps, http instead of https"
        )
    if _NO_TLS_OPTION.search(everything):
        return Fault(REDIRECTED)
    if missing := _NOT_FOUND.search(everything):
        return Fault(f"has no stream at this path ({missing[0]})")
    is_silent = offer.is_known and offer.sound is None
    if not delivered and (is_silent or any(it in everything for it in _NO_SOUND)):
        picture = f", only a picture ({offer.picture})" if offer.picture else ""
        return Fault(f"offers no sound{picture}: switch it on at the camera")
    if not delivered and (reason := _UNREACHABLE.search(everything)):
        return Fault(f"cannot be reached: {reason[0]}")
    if not delivered and not offer.is_known and (no := _FOREIGN.search(everything)):
        return _foreign(no[0], request, seconds)
    if not errors:
        return Fault("closed the connection", is_end=True)
    verb = "broke off" if delivered else "cannot be read"
    return Fault(f"{verb}: {errors[-1] if delivered else errors[0]}")


def _untrusted(detail: str, request: Request) -> str:
    """Say why a certificate is not trusted, and what may help."""
    if "match" in detail:  # a name: the authority is known
        advice = "write one of the certificate's names in the URL"
    elif request.ca_file:
        detail += f"; it is not the one in {request.ca_file}"
        advice = "put its certificate or that of its authority there"
    else:
        advice = "set ca_file to its certificate or that of its authority"
    return (
        f"has no certificate that is trusted ({detail}): {advice}, or "
        "verify_certificate: false"
    )


def _refused(refusal: str, request: Request) -> Fault:
    """Say that a login is missing or wrong."""
    why, advice = "wants a login", "set username and password"
    if request.secrets:
        why = "refuses this user or password"
        advice = "check username and password"
    return Fault(
        f"{why} ({refusal}): {advice}; 'run' asks again every {REFUSED_SECONDS:.0f} s, "
        "for some lock out who tries too often",
        REFUSED_SECONDS,
    )


def _foreign(reason: str, request: Request, seconds: float) -> Fault:
    """Say that an answer is not of the scheme of the URL, or that none came in time."""
    if request.is_rtsp and seconds >= TIMEOUT_SECONDS:
        return Fault("delivered nothing", is_stall=True)
    scheme, other = ("rtsp", "rtsps") if request.is_rtsp else ("http", "https")
    tls = "" if request.is_encrypted else f", or write {other} instead of {scheme}"
    if request.is_rtsp or not reason.startswith(("Invalid", "Stream")):
        return Fault(f"does not answer by {scheme} ({reason}): check the port{tls}")
    return Fault(f"is no sound that ffmpeg knows, perhaps a web page ({reason})")


def _text(line: str) -> str:
    found = _LINE.fullmatch(line)
    return "" if found is None else found["text"].strip()
