"""RTP packets of 16-bit samples (RFC 3550, RFC 3551), put in order, with what was lost.

A packet has a header and samples, the high byte first (L16).  Its time stamp counts
samples, and shows what was lost.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost

_HEADER = struct.Struct(">BBHII")
_VERSION = 2
_STATIC_FORMATS = {10: (44_100, 2), 11: (44_100, 1)}
"""Payload types that say rate and channels themselves (RFC 3551)."""

_CODECS = {0: " (PCMU)", 8: " (PCMA)", 9: " (G.722)", 14: " (MP3)", 33: " (MPEG-TS)"}
_REPORTS = range(72, 77)
"""Of RTCP, which a sender may mix with its packets (RFC 5761)."""

_FIRST_DYNAMIC = 96
"""Payload types from here on mean what sender and receiver have agreed upon."""

_MOST_CHANNELS = 8

_PROBATION_PACKETS = 3
_PROBATION_SECONDS = 0.1
"""Packets that fit together until a new sender, or a leap of a time stamp, is followed.

RFC 3550, appendix A.1, asks for two; here a packet that is only late must not count.
"""

_LONGEST_LEAP_SECONDS = 1.0
"""Between two packets that fit together."""

_LONGEST_LOSS_SECONDS = 10.0
_EARLY_SECONDS = 0.2
"""Samples may be so far ahead of the clock: packets do not come at an even pace."""

_DRIFT = 0.001
"""A sender's clock errs by less."""

_MOST_RUNS = 64
_MOST_UNLIKE = 4
"""Packets in a row whose time stamps do not count their samples."""

_OTHER_SENDER_SECONDS = 1.0
"""Silence after which the packets of another sender are taken."""

_RESTART_SECONDS = 2.0
"""Time for which a host may be both, the sender that is followed and another one."""

NO_RTP = "are no RTP: its header of twelve bytes must precede the samples"
NO_PCM = (
    "are no 16-bit PCM whose time stamps count the samples: have the sender send L16 "
    "instead of a codec such as Opus"
)
OTHER_SENDER = "come while another sender is heard"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, and in which form."""

    host: str
    number: int
    """Chosen by the sender (SSRC)."""

    payload_type: int
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Packet:
    """The content of a packet."""

    sender: Sender
    number: int
    """Of 16 bits; a sender may leave it at one value."""

    stamp: int
    """Number of the first sample, of 32 bits."""

    samples: Samples
    payload_bytes: int

    @property
    def count(self) -> int:
        """Samples of a channel."""
        return int(self.samples.shape[1])


def parse(data: bytes, host: str, form: tuple[int, int]) -> Packet | str:
    """Return the content of a packet, or why it has none; "": that is no fault.

    `form` is the rate and the channels of packets that do not say them.
    """
    if len(data) < _HEADER.size or data[0] >> 6 != _VERSION:
        return NO_RTP
    first, kind, number, stamp, source = _HEADER.unpack_from(data)
    kind &= 0x7F
    if kind in _REPORTS:
        return ""
    if kind not in _STATIC_FORMATS and kind < _FIRST_DYNAMIC:
        return (
            f"are RTP of payload type {kind}{_CODECS.get(kind, '')}, not of 16-bit "
            "PCM: have the sender send L16"
        )
    begin = _HEADER.size + 4 * (first & 0x0F)
    if first & 0x10 and len(data) >= begin + 4:  # an extension of the header
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4])
    end = len(data) - (data[-1] if first & 0x20 else 0)  # padding
    rate, channels = _STATIC_FORMATS.get(kind, form)
    count = max(0, end - begin) // (2 * channels)
    if count == 0:
        return ""
    flat = np.frombuffer(data, ">i2", count * channels, begin)
    samples: Samples = flat.reshape(count, channels).T.astype(np.float32)
    samples /= np.float32(2**15)
    sender = Sender(host, source, kind, rate, channels)
    return Packet(sender, number, stamp, samples, end - begin)


class _Run:
    """Packets of one sender that fit together, and wait for more of them."""

    def __init__(self, packet: Packet, now: float) -> None:
        self.unlike = ""
        """Why the latest packets are no PCM; "": they are, or it is not known yet."""

        self._unlike = 0
        self._begin(packet, now)

    def _begin(self, packet: Packet, now: float) -> None:
        self.newest = packet
        self.since = now  # arrival of its first packet, monotonic seconds
        self.first = packet.stamp
        self.parts: list[Samples | Lost] = [packet.samples]
        self._packets = 1

    @property
    def is_long(self) -> bool:
        """True if it has lasted long enough to be followed."""
        stop = self.newest.stamp + self.newest.count
        seconds = _difference(stop, self.first) / self.newest.sender.sample_rate
        return self._packets >= _PROBATION_PACKETS and seconds >= _PROBATION_SECONDS

    def fits(self, packet: Packet) -> bool:
        """Return True if `packet` may follow."""
        passed, ahead = self._step(packet)
        longest = _LONGEST_LEAP_SECONDS * packet.sender.sample_rate
        return ahead == 0 if passed == 1 else 0 <= ahead <= longest

    def add(self, packet: Packet) -> None:
        """Add a packet that fits."""
        passed, ahead = self._step(packet)
        if passed == 1:
            self._unlike, self.unlike = 0, ""
        if ahead:
            self.parts.append(Lost(ahead, "stalled"))
        self.parts.append(packet.samples)
        self.newest = packet
        self._packets += 1

    def denies(self, packet: Packet, now: float) -> bool:
        """Begin anew with the next packet if its time stamp does not count samples."""
        before, (passed, ahead) = self.newest, self._step(packet)
        if passed != 1 or ahead == 0:
            return False
        self._unlike += 1
        if self._unlike >= _MOST_UNLIKE:
            self.unlike = _unlike_pcm(before, ahead + before.count)
        self._begin(packet, now)
        return True

    def _step(self, packet: Packet) -> tuple[int, int]:
        """Packets since the newest one, and samples between the two."""
        before = self.newest
        passed = (packet.number - before.number) % 2**16
        return passed, _difference(packet.stamp, before.stamp + before.count)


class PacketReader:
    """The samples of the packets of one sender, in order.  Not thread-safe.

    A packet is taken at once if it continues what was taken.  Others wait until enough
    of them fit together: then they are followed, and what lies between is lost, as far
    as the clock agrees.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Begin; rate and channels are those of packets that do not say them."""
        self.sample_rate, self.channels = sample_rate, channels
        self._form = sample_rate, channels
        self._sender: Sender | None = None
        self._heard = -inf
        self._next = 0  # time stamp
        self._runs: list[_Run] = []
        self._other_since: float | None = None  # packets of another at the same host
        self._began, self._passed = inf, 0  # the clock at the first of so many samples

    def push(self, data: bytes, host: str, now: float) -> list[Samples | Lost] | str:
        """Return the samples that a packet completes, and losses between them.

        Or why it is left out.
        """
        packet = parse(data, host, self._form)
        if isinstance(packet, str):
            return packet
        sender = packet.sender
        is_alive = now - self._heard < _OTHER_SENDER_SECONDS
        if self._sender is not None and sender != self._sender and is_alive:
            return self._of_another(host, now)
        if sender == self._sender and packet.stamp == self._next:
            return list(self._take([packet.samples], packet, now))
        run = self._run_of(packet, now)
        if run.unlike:
            return run.unlike
        return list(self._follow(run, now)) if run.is_long else []

    def _of_another(self, host: str, now: float) -> str:
        """Return why the packet of another sender is left out."""
        assert self._sender is not None
        if host == self._sender.host:  # it may have begun anew
            self._other_since = self._other_since or now
            if now - self._other_since < _RESTART_SECONDS:
                return ""
        return OTHER_SENDER

    def _run_of(self, packet: Packet, now: float) -> _Run:
        """Return the run of a packet, the newest one that it fits, or a new one."""
        own = [it for it in reversed(self._runs) if it.newest.sender == packet.sender]
        run = next((it for it in own if it.fits(packet)), None)
        if run is not None:
            run.add(packet)
        else:
            run = next((it for it in own if it.denies(packet, now)), None)
        if run is None:
            run = _Run(packet, now)
        else:
            self._runs.remove(run)
        self._runs = [*self._runs[1 - _MOST_RUNS :], run]
        return run

    def _follow(self, run: _Run, now: float) -> Iterator[Samples | Lost]:
        parts, rate = run.parts, run.newest.sender.sample_rate
        longest = _LONGEST_LOSS_SECONDS * rate
        if (sender := run.newest.sender) != self._sender:
            self._sender = sender
            self.sample_rate, self.channels = sender.sample_rate, sender.channels
            self._began, self._passed, self._other_since = run.since, 0, None
        elif 0 < (lost := _difference(run.first, self._next)) <= longest:
            parts = [Lost(lost, "stalled"), *parts]
        clock = (now - self._began + _EARLY_SECONDS) * rate
        if self._passed + _count(parts) > clock:  # the sender has begun to count anew
            parts = [part for part in parts if not isinstance(part, Lost)]
        yield from self._take(parts, run.newest, now)

    def _take(
        self, parts: list[Samples | Lost], newest: Packet, now: float
    ) -> Iterator[Samples | Lost]:
        """Go on behind `parts`, and with packets that have waited for them."""
        waiting = self._runs
        self._runs = []
        self._next = (newest.stamp + newest.count) % 2**32
        self._heard = now
        count = _count(parts)
        self._passed += count
        rate = self.sample_rate
        begins = self._began + _DRIFT * count / rate, now - self._passed / rate
        self._began = min(begins)
        yield from parts
        for run in waiting:
            if run.newest.sender == self._sender and run.first == self._next:
                yield from self._take(run.parts, run.newest, now)


def _count(parts: list[Samples | Lost]) -> int:
    return sum(it.count if isinstance(it, Lost) else it.shape[1] for it in parts)


def _difference(stamp: int, other: int) -> int:
    """Samples from one time stamp to another, across an overflow."""
    return (stamp - other + 2**31) % 2**32 - 2**31


def _unlike_pcm(packet: Packet, advance: int) -> str:
    """Return what is wrong with a packet after which the time stamp has advanced."""
    channels = packet.sender.channels
    for other in range(1, _MOST_CHANNELS + 1):
        if other != channels and packet.payload_bytes == 2 * other * advance:
            counted = f"{other} channel{'s' * (other > 1)}"
            return f"have {counted}, not {channels}: set channels: {other}"
    return NO_PCM
