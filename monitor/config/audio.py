"""Settings of the sources, and of the checks that they are healthy."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from monitor.config.base import Name, Settings, Text, check_url_parts
from monitor.config.hooks import Reference
from monitor.records import HealthKind

PASSWORD = "{password}"  # noqa: S105 - it stands for one
"""Where an input has this, the password is inserted."""

_STREAM = re.compile(r"(rtsp|http)s?:")
_PASSWORD_QUERY = re.compile(
    r"[?&][^=&]*(pass|pwd|token|secret|api_?key)[^=&]*=(?!\{password\})[^&]",
    re.IGNORECASE,
)
_UDP = re.compile(
    r"udp:(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):)?(?P<port>\d{1,5})"
)


def _is_input(text: str) -> str:
    kind, colon, rest = text.partition(":")
    text = f"{kind.lower()}{colon}{rest}"  # schemes are the same in capitals
    if _STREAM.match(text):
        return _stream_url(text)
    if text.startswith("udp:"):
        udp_address(text)
    elif not re.fullmatch(r"(mic|file|command):.*\S.*|demo:", text, re.DOTALL):
        raise ValueError(
            "must be mic:NAME, file:PATH, command:ARGV, demo:, udp:[ADDRESS:]PORT or "
            "the URL of an rtsp, rtsps, http or https stream"
        )
    return text


def _stream_url(url: str) -> str:
    # Without the value: it may hold a password.
    if re.search(r"[\s\x00-\x1f\x7f']", url):
        raise ValueError("a URL must not contain spaces or quotes; write %20 or %27")
    check_url_parts(url, ("rtsp", "rtsps", "http", "https"))
    if _PASSWORD_QUERY.search(url):
        raise PydanticCustomError(
            "secret",
            "must not contain a password; write {place} instead of it, and say with "
            "password where it is stored",
            {"place": PASSWORD},
        )
    return url


def udp_address(text: str) -> tuple[str, int]:
    """Return the local address of a udp: input; the host is empty if it has none.

    Raises:
        ValueError: It has another form.
    """
    found = _UDP.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        raise ValueError("must be udp:PORT or udp:ADDRESS:PORT")
    host = (found["host"] or "").strip("[]")
    # A name would be resolved, which takes as long as the name server likes.
    try:
        if host:
            ip_address(host)
    except ValueError:
        raise ValueError(
            f"{host!r:.80} is no IP address: write udp:PORT, or udp:ADDRESS:PORT with "
            "the address of this machine to listen at"
        ) from None
    return host, int(found["port"])


Input = Annotated[Text, AfterValidator(_is_input)]


SampleFormat = Literal["s16le", "s24le", "s32le", "f32le"]


_FORMAT_SETTINGS = ("sample_rate", "channels", "sample_format")

_FORMATS = {
    "mic": (
        ("sample_rate", "channels"),
        "on a microphone, whose samples the sound card describes",
    ),
    "command": (_FORMAT_SETTINGS, ""),
    "file": ((), "on a recording, which states its format itself"),
    "rtsp": ((), "on a camera, which chooses its format itself"),
    "http": (
        ("sample_rate",),
        "on a stream by http that states its format itself, as it does unless "
        "sample_rate is set",
    ),
    "raw": (_FORMAT_SETTINGS, ""),
    "udp": (("sample_rate", "channels"), "on packets, which are 16-bit samples"),
    "demo": (("sample_rate",), "on the demo scene, which is mono"),
}
"""What of the format each kind of input uses, and where the rest has no effect."""


class SourceSettings(Settings):
    """One stream of samples, and the device, file or program that delivers it."""

    name: Name
    """Name in records, logs and rules."""

    input: Input = "mic:default"
    """mic:NAME, file:PATH, command:ARGV (writes WAV or raw PCM on stdout), demo:,
    udp:[ADDRESS:]PORT, or the URL of an rtsp, rtsps, http or https stream.
    """

    username: Text | None = None
    """User name for a stream with a URL, such as a camera's."""

    password: Reference | None = None
    """Place of its password: env:NAME, credential:NAME or file:PATH. It stands for
    {password} in the input, too.
    """

    ca_file: Text | None = None
    """PEM file with the certificate authorities to trust for rtsps and https, instead
    of the system's; or, for rtsps, with the certificate of the camera itself.
    """

    verify_certificate: bool = True
    """Verify the certificate of an rtsps or https stream. Otherwise anybody on the
    network path can read the password and replace the sound.
    """

    sample_rate: Annotated[int, Field(ge=8_000, le=192_000)] | None = None
    """Sample rate in Hz; null: the microphone's default, 44100 for raw PCM. An http
    stream that has one is raw PCM.
    """

    channels: Annotated[int, Field(ge=1, le=64)] | None = None
    """Channels to capture; null: one or two for a microphone, one for raw PCM."""

    sample_format: SampleFormat = "s16le"
    """Encoding of raw PCM by command or http; ignored if a command writes WAV."""

    stall_seconds: Annotated[float, Field(ge=0.5, le=3600)] | None = None
    """A source that delivers no samples for this long is reopened; null: 2, from the
    network 5, with HLS 20.
    """

    labels: Annotated[tuple[Text, ...], Field(strict=False)] | None = None
    """Labels that are reported of this source; null: as for all sources."""

    level_offset_db: Annotated[float, Field(ge=-200, le=200)] = 0.0
    """Added to A-weighted levels: the sound pressure level at which this microphone
    clips; 0: unknown, and the levels are re full scale, called dBFS(A).
    """

    @property
    def is_live(self) -> bool:
        """False for recordings, which end and may be fed faster than real time."""
        return not self.input.startswith(("file:", "demo:"))

    @property
    def is_encrypted(self) -> bool:
        """Whether it is a stream by TLS."""
        return self.input.startswith(("rtsps:", "https:"))

    @property
    def is_raw(self) -> bool:
        """Whether it is raw PCM by HTTP."""
        return self.input.startswith("http") and self.sample_rate is not None

    @model_validator(mode="after")
    def _fits_together(self) -> "SourceSettings":
        is_stream = _STREAM.match(self.input) is not None
        has_place = is_stream and PASSWORD in self.input
        if not is_stream and (self.username is not None or self.password is not None):
            raise ValueError("username and password are for a stream with a URL")
        if not self.is_encrypted and (self.ca_file or not self.verify_certificate):
            raise ValueError("ca_file and verify_certificate are for rtsps and https")
        if self.ca_file is not None and not self.verify_certificate:
            raise ValueError("ca_file needs verify_certificate: true")
        if self.password is not None and self.username is None and not has_place:
            raise ValueError(f"password needs username, or {PASSWORD} in the input")
        if has_place and self.password is None:
            raise ValueError(f"{PASSWORD} in the input needs password")
        if self.is_raw and (self.username is not None or self.password is not None):
            raise ValueError("raw PCM by http cannot have a password: send WAV instead")
        return self

    @model_validator(mode="after")
    def _nothing_is_without_effect(self) -> "SourceSettings":
        kind = self.input.partition(":")[0].removesuffix("s")
        used, where = _FORMATS["raw" if self.is_raw else kind]
        for name in _FORMAT_SETTINGS:
            default = SourceSettings.model_fields[name].default
            if name not in used and getattr(self, name) != default:
                raise ValueError(f"{name} has no effect {where}; remove it")
        return self


class HealthSettings(Settings):
    """Limits at which a source counts as unhealthy, and as healthy again."""

    hold_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """A problem is reported once it has lasted this long."""

    clear_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """A problem is cleared once it has been absent for this long."""

    no_signal_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """A source in which nothing but the last bit of 16 changes is reported after this
    long.  Longer than the others: the noise of a microphone is nearly as faint.
    """

    deaf_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """A source that is not being listened to is reported as deaf after this long."""

    noise_floor_fall_db: Annotated[float, Field(ge=3, le=100)] = 12.0
    """A microphone whose noise floor falls this far below the quietest hours of the
    last day counts as covered.
    """

    ignore: Annotated[tuple[HealthKind, ...], Field(strict=False)] = ()
    """Kinds that are never reported, such as dead-channel for a mono microphone on a
    stereo input.
    """


class LevelSettings(Settings):
    """What is measured of the level, beside what is always kept of each hour."""

    third_octaves: bool = False
    """Keep the level of each third octave from 25 Hz to 16 kHz, hour by hour; a source
    takes about a tenth more processor time.
    """


CanaryLabel = Literal["siren", "dog_bark", "drilling", "car_horn"]
"""The sounds that the program can synthesise, the most reliable first."""


class CanarySettings(Settings):
    """A self-test: a known sound in a copy of the input must be detected."""

    every_seconds: Annotated[float, Field(ge=60, le=604_800)] | None = 3600.0
    """Interval of the test for each live source, which is also tested soon after the
    start; null: never.
    """

    label: CanaryLabel | None = None
    """siren, dog_bark, drilling or car_horn; null: the first of them that the model and
    the rules can detect.
    """
