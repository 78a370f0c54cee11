"""RTP packets of 16-bit samples (RFC 3550, RFC 3551), put in order, with what was lost.

A packet has a header and samples, the high byte first (L16).  Its time stamp counts
samples, and shows what was lost.
"""

import struct
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
"""Packets until a new sender, or a leap of a time stamp, is followed.

RFC 3550, appendix A.1, asks for two; here those in the wrong order must not count.
"""

_NEAR_SECONDS = 1.0
"""Packets that are further apart have nothing to do with each other."""

_MOST_WAITING = 256

_LONGEST_LOSS_SECONDS = 10.0
_EARLY_SECONDS = 0.2
"""Samples may be so far ahead of the clock: packets do not come at an even pace."""

_DRIFT = 0.001
"""A sender's clock errs by less."""

_MOST_GROUPS = 64
_MOST_UNLIKE = 4
"""Packets whose time stamp does not count the samples of the one before."""

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


class _Group:
    """Packets of one sender that are near each other, and wait for more of them."""

    def __init__(self, packet: Packet) -> None:
        self.sender = packet.sender
        self.packets = {packet.stamp: packet}
        self.unlike = ""
        """Why they are no PCM; "": they are, or it is not known."""

        self.is_doubtful = False
        """True if most of their time stamps do not count samples."""

    @property
    def samples(self) -> int:
        """Samples of a channel."""
        return sum(packet.count for packet in self.packets.values())

    def is_near(self, packet: Packet) -> bool:
        """Return True if a packet of the same sender belongs here."""
        newest = next(reversed(self.packets))
        longest = _NEAR_SECONDS * self.sender.sample_rate
        return abs(_difference(packet.stamp, newest)) <= longest

    def add(self, packet: Packet) -> None:
        """Add a packet, and judge all."""
        self.packets.setdefault(packet.stamp, packet)
        if len(self.packets) > _MOST_WAITING:
            del self.packets[next(iter(self.packets))]
        self._judge()

    def first(self, stamp: int) -> int:
        """Return the lowest time stamp, seen from one that is near."""
        return min(self.packets, key=lambda other: _difference(other, stamp))

    def forget_before(self, stamp: int) -> None:
        """Leave out packets that are too late."""
        late = [it for it in self.packets if _difference(it, stamp) < 0]
        for it in late:
            del self.packets[it]

    def _judge(self) -> None:
        numbered = {packet.number: packet for packet in self.packets.values()}
        good = bad = 0
        for packet in numbered.values():
            following = numbered.get((packet.number + 1) % 2**16)
            if following is None:
                continue
            advance = _difference(following.stamp, packet.stamp)
            if advance == packet.count:
                good += 1
            else:
                bad += 1
                reason = _unlike_pcm(packet, advance)
        self.is_doubtful = bad > 0 and bad >= good
        self.unlike = reason if bad >= _MOST_UNLIKE and bad >= good else ""


class PacketReader:
    """The samples of the packets of one sender, in order.  Not thread-safe.

    A packet is taken at once if it continues what was taken.  One that is ahead waits
    for those before it, until there are so many that these count as lost, as far as the
    clock agrees.  A new sender, and one whose time stamp leaps, is followed after as
    many packets that are near each other.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Begin; rate and channels are those of packets that do not say them."""
        self.sample_rate, self.channels = sample_rate, channels
        self._form = sample_rate, channels
        self._sender: Sender | None = None
        self._heard = -inf
        self._next = 0  # time stamp
        self._ahead: _Group | None = None  # packets of the sender that wait
        self._groups: list[_Group] = []  # other ones, since the latest that was taken
        self._other_since: float | None = None  # packets of another at the same host
        self._began, self._passed = inf, 0  # the clock at the first of so many samples

    def push(self, data: bytes, host: str, now: float) -> list[Samples | Lost] | str:
        """Return the samples that a packet completes, and losses between them.

        Or why it is left out.
        """
        packet = parse(data, host, self._form)
        if isinstance(packet, str):
            return packet
        if self._sender is not None and packet.sender != self._sender:
            if now - self._heard < _OTHER_SENDER_SECONDS:
                return self._of_another(host, now)
        elif self._sender is not None:
            ahead = _difference(packet.stamp, self._next)
            if 0 <= ahead <= _NEAR_SECONDS * self.sample_rate:
                self._ahead = _with(self._ahead, packet)
                return self._take(now) or self._ahead.unlike or []
        group = self._group_of(packet)
        if group.unlike or not self._is_long(group):
            return group.unlike or []
        return self._follow(group, now)

    def _of_another(self, host: str, now: float) -> str:
        """Return why the packet of another sender is left out."""
        assert self._sender is not None
        if host == self._sender.host:  # it may have begun anew
            self._other_since = self._other_since or now
            if now - self._other_since < _RESTART_SECONDS:
                return ""
        return OTHER_SENDER

    def _group_of(self, packet: Packet) -> _Group:
        """Add a packet to the newest group that it belongs to, or to a new one."""
        found = None
        for group in reversed(self._groups):
            if group.sender == packet.sender and group.is_near(packet):
                found = group
                self._groups.remove(group)
                break
        found = _with(found, packet)
        self._groups = [*self._groups[1 - _MOST_GROUPS :], found]
        return found

    def _is_long(self, group: _Group) -> bool:
        """Return True if a group lasts long enough, and seems to be PCM."""
        seconds = group.samples / group.sender.sample_rate
        enough = len(group.packets) >= _PROBATION_PACKETS
        return enough and seconds >= _PROBATION_SECONDS and not group.is_doubtful

    def _follow(self, group: _Group, now: float) -> list[Samples | Lost]:
        """Go on with a group."""
        begin = group.first(next(iter(group.packets)))
        parts: list[Samples | Lost] = []
        if (sender := group.sender) == self._sender:
            parts = self._lose(_difference(begin, self._next), group, now)
        else:
            self._sender = sender
            self.sample_rate, self.channels = sender.sample_rate, sender.channels
            self._began, self._passed, self._other_since = now, 0, None
            self._began -= group.samples / sender.sample_rate
        self._next, self._ahead = begin, group
        return [*parts, *self._take(now)]

    def _take(self, now: float) -> list[Samples | Lost]:
        """Take the packets that are next, and give up those that do not come."""
        parts: list[Samples | Lost] = []
        ahead = self._ahead
        while ahead is not None and ahead.packets:
            packet = ahead.packets.pop(self._next, None)
            if packet is not None:
                parts.append(packet.samples)
                self._next = (self._next + packet.count) % 2**32
                self._pass(packet.count, now)
                ahead.forget_before(self._next)
            elif self._is_long(ahead):
                begin = ahead.first(self._next)
                parts += self._lose(_difference(begin, self._next), ahead, now)
                self._next = begin
            else:
                break
        if ahead is not None and not ahead.packets:
            self._ahead = None
        return parts

    def _lose(self, count: int, group: _Group, now: float) -> list[Samples | Lost]:
        """Return what is lost before a group; nothing if the sender counts anew."""
        rate = self.sample_rate
        limit = (now - self._began + _EARLY_SECONDS) * rate - self._passed
        longest = min(limit - group.samples, _LONGEST_LOSS_SECONDS * rate)
        if not 0 < count <= longest:
            return []
        self._passed += count
        return [Lost(count, "stalled")]

    def _pass(self, count: int, now: float) -> None:
        """Count samples that were taken."""
        self._passed += count
        self._heard = now
        self._groups.clear()
        begins = (
            self._began + _DRIFT * count / self.sample_rate,
            now - self._passed / self.sample_rate,
        )
        self._began = min(begins)


def _with(group: _Group | None, packet: Packet) -> _Group:
    """Return `group` with a packet."""
    if group is None:
        return _Group(packet)
    group.add(packet)
    return group


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
