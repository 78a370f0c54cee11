"""RTP packets of 16-bit samples (RFC 3550, RFC 3551), put in order, with what was lost.

A packet has a header and samples, the high byte first (L16).  Its timestamp counts
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
"""A run of so many packets, and so long, is accepted.

RFC 3550, appendix A.1, asks for two packets; here those in the wrong order must not
count.
"""

_NEAR_SECONDS = 1.0
"""Packets that are further apart have nothing to do with each other."""

_MOST_BYTES = 8192
"""Limit of a packet, UDP included: 20 ms of eight channels at 24 kHz."""

_MOST_WAITING = 256
_MOST_WAITING_SECONDS = 0.2
_FEWEST_WAITING = 8
"""Packets that wait whatever they last: enough to judge their format."""

_LONGEST_LOSS_SECONDS = 10.0
_EARLY_SECONDS = 0.2
"""Samples may be so far ahead of the clock: packets do not come at an even pace."""

_DRIFT = 0.001
"""A sender's clock errs by less."""

_MOST_CANDIDATES = 64
_FAULTY_PACKETS = 4
"""So many whose timestamp does not count the samples of the one before are coded."""

_MOST_LENGTHS = 2.0
"""A packet is at most so long, in lengths of the longest of its run."""

_OTHER_SENDER_SECONDS = 1.0
"""Silence after which packets of another sender, or of another length, are taken."""

_RESTART_SECONDS = 2.0
"""Time for which a host may be both, the sender that is followed and another one."""

NO_RTP = "are no RTP: its header of twelve bytes must precede the samples"
NO_PCM = (
    "are no 16-bit PCM whose timestamps count the samples: have the sender send L16 "
    "instead of a codec such as Opus"
)
TOO_LARGE = f"are larger than {_MOST_BYTES} bytes"
OTHER_LENGTH = "are far longer than those before, as if somebody else had sent them"
OTHER_SENDER = "come while another sender is heard"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, and in which form."""

    host: str
    ssrc: int
    """Chosen by the sender."""

    payload_type: int
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Packet:
    """The content of a packet."""

    sender: Sender
    sequence_number: int
    """Of 16 bits; a sender may leave it at one value."""

    timestamp: int
    """Number of the first sample, of 32 bits."""

    samples: Samples
    payload_bytes: int

    @property
    def count(self) -> int:
        """Samples of a channel."""
        return int(self.samples.shape[1])


@dataclass(frozen=True, slots=True)
class Rejected:
    """A packet of which nothing is taken."""

    reason: str
    """The end of a sentence that begins with packets."""


def parse(data: bytes, host: str, form: tuple[int, int]) -> Packet | Rejected | None:
    """Return the content of a packet; None: it has none, and needs none.

    `form` is the rate and the channels of packets that do not say them.
    """
    if len(data) > _MOST_BYTES:
        return Rejected(TOO_LARGE)
    if len(data) < _HEADER.size or data[0] >> 6 != _VERSION:
        return Rejected(NO_RTP)
    first, second, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
    payload_type = second & 0x7F
    if payload_type in _REPORTS:
        return None
    if payload_type not in _STATIC_FORMATS and payload_type < _FIRST_DYNAMIC:
        return Rejected(
            f"are RTP of payload type {payload_type}{_CODECS.get(payload_type, '')}, "
            "not of 16-bit PCM: have the sender send L16"
        )
    begin = _HEADER.size + 4 * (first & 0x0F)
    if first & 0x10 and len(data) >= begin + 4:  # an extension of the header
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4])
    end = len(data) - (data[-1] if first & 0x20 else 0)  # padding
    rate, channels = _STATIC_FORMATS.get(payload_type, form)
    count = max(0, end - begin) // (2 * channels)
    if count == 0:
        return None
    flat = np.frombuffer(data, ">i2", count * channels, begin)
    samples: Samples = flat.reshape(count, channels).T.astype(np.float32)
    samples /= np.float32(2**15)
    sender = Sender(host, ssrc, payload_type, rate, channels)
    return Packet(sender, sequence_number, timestamp, samples, end - begin)


class _Run:
    """Packets of one sender that are near each other, and wait for more of them."""

    def __init__(self, packet: Packet) -> None:
        self.sender = packet.sender
        self.packets = {packet.timestamp: packet}
        self.format_fault: Rejected | None = None
        """Why they are no PCM; None: they are, or it is not known."""

        self.may_be_coded = False
        """True if most of their timestamps do not count samples."""

    @property
    def samples(self) -> int:
        """Samples of a channel."""
        return sum(packet.count for packet in self.packets.values())

    def is_near(self, packet: Packet) -> bool:
        """Return True if a packet of the same sender belongs here."""
        newest = next(reversed(self.packets))
        longest = _NEAR_SECONDS * self.sender.sample_rate
        return abs(_difference(packet.timestamp, newest)) <= longest

    def add(self, packet: Packet) -> None:
        """Add a packet, and judge all."""
        self.packets.setdefault(packet.timestamp, packet)
        while self._is_too_much:
            del self.packets[next(iter(self.packets))]
        self._judge()

    @property
    def _is_too_much(self) -> bool:
        longest = _MOST_WAITING_SECONDS * self.sender.sample_rate
        count = len(self.packets)
        return count > _MOST_WAITING or (
            count > _FEWEST_WAITING and self.samples > longest
        )

    def first(self, timestamp: int) -> int:
        """Return the lowest timestamp, seen from one that is near."""
        return min(self.packets, key=lambda other: _difference(other, timestamp))

    def forget_before(self, timestamp: int) -> None:
        """Leave out packets that are too late."""
        late = [it for it in self.packets if _difference(it, timestamp) < 0]
        for it in late:
            del self.packets[it]

    def _judge(self) -> None:
        numbered = {packet.sequence_number: packet for packet in self.packets.values()}
        good = bad = 0
        for packet in numbered.values():
            following = numbered.get((packet.sequence_number + 1) % 2**16)
            if following is None:
                continue
            advance = _difference(following.timestamp, packet.timestamp)
            if advance == packet.count:
                good += 1
            else:
                bad += 1
                reason = _format_fault(packet, advance)
        self.may_be_coded = bad > 0 and bad >= good
        is_faulty = bad >= _FAULTY_PACKETS and bad >= good
        self.format_fault = Rejected(reason) if is_faulty else None


class PacketReader:
    """The samples of the packets of one sender, in order.  Not thread-safe.

    A packet is taken at once if it continues what was taken.  One that is ahead waits
    for those before it, until there are so many that these count as lost, as far as the
    clock agrees.  A new sender, or a leap of the timestamp, is accepted once 0.1 s of
    consecutive packets has come (probation, RFC 3550 A.1).
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Begin; rate and channels are those of packets that do not say them."""
        self.sample_rate, self.channels = sample_rate, channels
        self._form = sample_rate, channels
        self._sender: Sender | None = None
        self._heard = -inf
        self._next = 0  # timestamp
        self._most_samples = 0.0  # of a packet of the sender
        self._reorder_buffer: _Run | None = None  # packets of the sender that wait
        self._candidates: list[_Run] = []  # since the latest packet that was taken
        self._other_since: float | None = None  # packets of another at the same host
        self._began, self._passed = inf, 0  # the clock at the first of so many samples

    def push(
        self, data: bytes, host: str, now: float
    ) -> list[Samples | Lost] | Rejected:
        """Return the samples that a packet completes, and losses between them."""
        packet = parse(data, host, self._form)
        if packet is None or isinstance(packet, Rejected):
            return packet or []
        if self._sender is not None and packet.sender != self._sender:
            if self._is_heard(now):
                return self._of_another(host, now)
        elif self._sender is not None:
            is_usual = packet.count <= self._most_samples
            if not is_usual and self._is_heard(now):
                return Rejected(OTHER_LENGTH)
            ahead = _difference(packet.timestamp, self._next)
            if is_usual and 0 <= ahead <= _NEAR_SECONDS * self.sample_rate:
                self._reorder_buffer = _with(self._reorder_buffer, packet)
                return self._take(now) or self._reorder_buffer.format_fault or []
        candidate = self._candidate_of(packet)
        if candidate.format_fault or not self._is_long(candidate):
            return candidate.format_fault or []
        return self._accept(candidate, now)

    @property
    def host(self) -> str:
        """Address of the sender that is followed; empty: there is none yet."""
        return "" if self._sender is None else self._sender.host

    def _is_heard(self, now: float) -> bool:
        return now - self._heard < _OTHER_SENDER_SECONDS

    def _of_another(self, host: str, now: float) -> list[Samples | Lost] | Rejected:
        """Take nothing of the packet of another sender."""
        assert self._sender is not None
        if host == self._sender.host:  # it may have begun anew
            self._other_since = self._other_since or now
            if now - self._other_since < _RESTART_SECONDS:
                return []
        return Rejected(OTHER_SENDER)

    def _candidate_of(self, packet: Packet) -> _Run:
        """Add a packet to the newest candidate that it belongs to, or to a new one."""
        found = None
        for run in reversed(self._candidates):
            if run.sender == packet.sender and run.is_near(packet):
                found = run
                self._candidates.remove(run)
                break
        found = _with(found, packet)
        self._candidates = [*self._candidates[1 - _MOST_CANDIDATES :], found]
        return found

    def _is_long(self, run: _Run) -> bool:
        """Return True if a run lasts long enough, and seems to be PCM."""
        seconds = run.samples / run.sender.sample_rate
        enough = len(run.packets) >= _PROBATION_PACKETS
        return enough and seconds >= _PROBATION_SECONDS and not run.may_be_coded

    def _accept(self, run: _Run, now: float) -> list[Samples | Lost]:
        """Go on with a run."""
        begin = run.first(next(iter(run.packets)))
        parts: list[Samples | Lost] = []
        if (sender := run.sender) == self._sender:
            parts = self._lose(_difference(begin, self._next), run, now)
        else:
            self._sender = sender
            self.sample_rate, self.channels = sender.sample_rate, sender.channels
            self._began, self._passed, self._other_since = now, 0, None
            self._began -= run.samples / sender.sample_rate
        longest = max(packet.count for packet in run.packets.values())
        self._most_samples = _MOST_LENGTHS * longest
        self._next, self._reorder_buffer = begin, run
        return [*parts, *self._take(now)]

    def _take(self, now: float) -> list[Samples | Lost]:
        """Take the packets that are next, and give up those that do not come."""
        parts: list[Samples | Lost] = []
        ahead = self._reorder_buffer
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
            self._reorder_buffer = None
        return parts

    def _lose(self, count: int, run: _Run, now: float) -> list[Samples | Lost]:
        """Return what is lost before a run; nothing if the sender counts anew."""
        rate = self.sample_rate
        limit = (now - self._began + _EARLY_SECONDS) * rate - self._passed
        longest = min(limit - run.samples, _LONGEST_LOSS_SECONDS * rate)
        if not 0 < count <= longest:
            return []
        self._passed += count
        return [Lost(count, "stalled")]

    def _pass(self, count: int, now: float) -> None:
        """Count samples that were taken."""
        self._passed += count
        self._heard = now
        self._candidates.clear()
        begins = (
            self._began + _DRIFT * count / self.sample_rate,
            now - self._passed / self.sample_rate,
        )
        self._began = min(begins)


def _with(run: _Run | None, packet: Packet) -> _Run:
    """Return `run` with a packet."""
    if run is None:
        return _Run(packet)
    run.add(packet)
    return run


def _difference(timestamp: int, other: int) -> int:
    """Samples from one timestamp to another, across an overflow."""
    return (timestamp - other + 2**31) % 2**32 - 2**31


def _format_fault(packet: Packet, advance: int) -> str:
    """Return what is wrong with a packet after which the timestamp has advanced."""
    channels = packet.sender.channels
    for other in range(1, _MOST_CHANNELS + 1):
        if other != channels and packet.payload_bytes == 2 * other * advance:
            counted = f"{other} channel{'s' * (other > 1)}"
            return f"have {counted}, not {channels}: set channels: {other}"
    return NO_PCM
