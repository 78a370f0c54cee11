"""Raw PCM in RTP packets by UDP, as a small device with a microphone sends it.

A packet has the header of RTP (RFC 3550) and 16-bit samples, the high byte first (L16,
RFC 3551).  The time stamp counts samples, and shows what was lost.
"""

import select
import socket
import struct
import time
from collections import deque

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from monitor.config.audio import udp_address
from monitor.errors import SourceError

_OPENING_SECONDS = 10.0
_STALL_SECONDS = 5.0

_HEADER = struct.Struct(">BBHII")
_VERSION = 2
_STATIC_FORMATS = {10: (44_100, 2), 11: (44_100, 1)}
"""Payload types that say rate and channels themselves (RFC 3551)."""

_FIRST_DYNAMIC = 96
"""Payload types from here on mean what sender and receiver have agreed upon."""

_PACKET_BYTES = 65_536
_RECEIVE_BYTES = 2**20
_BLOCK_SECONDS = 0.02
"""Packets are joined until they last so long: each block wakes the monitor up."""

_LONGEST_LOSS_SECONDS = 10.0
"""A longer leap of the time stamp is a sender that has begun anew."""

_OTHER_SENDER_SECONDS = 1.0
"""Silence after which the packets of another sender are taken."""

Sender = tuple[str, int, int, int]
"""Address of the sender, the number that it has chosen, its rate and its channels."""


class PacketReader:
    """The samples of the packets of one sender, in order.  Not thread-safe."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Begin; rate and channels are those of packets that do not say them."""
        self.sample_rate, self.channels = sample_rate, channels
        self._own = sample_rate, channels
        self._sender: Sender | None = None
        self._heard = 0.0
        self._next = 0  # time stamp of the next packet

    def push(self, packet: bytes, host: str, now: float) -> list[Samples | Lost]:
        """Return the samples of a packet, after the loss before it, if there was one.

        A packet that is late is left out: it is counted as lost already.
        """
        if len(packet) < _HEADER.size or packet[0] >> 6 != _VERSION:
            return []
        first, kind, _, stamp, number = _HEADER.unpack_from(packet)
        begin = _HEADER.size + 4 * (first & 0x0F)
        if first & 0x10 and len(packet) >= begin + 4:  # an extension of the header
            begin += 4 + 4 * int.from_bytes(packet[begin + 2 : begin + 4])
        end = len(packet) - (packet[-1] if first & 0x20 else 0)  # padding
        kind &= 0x7F
        if kind not in _STATIC_FORMATS and kind < _FIRST_DYNAMIC:
            return []  # of another codec
        rate, channels = _STATIC_FORMATS.get(kind, self._own)
        count = max(0, end - begin) // (2 * channels)
        if count == 0:
            return []
        sender = host, number, rate, channels
        if sender != self._sender:
            if self._sender and now - self._heard < _OTHER_SENDER_SECONDS:
                return []
            self._sender, self._next = sender, stamp
            self.sample_rate, self.channels = rate, channels
        self._heard = now
        ahead = (stamp - self._next + 2**31) % 2**32 - 2**31
        if abs(ahead) > _LONGEST_LOSS_SECONDS * rate:
            ahead = 0
        if ahead < 0:
            return []
        self._next = (stamp + count) % 2**32
        flat = np.frombuffer(packet, ">i2", count * channels, begin)
        samples: Samples = flat.reshape(count, channels).T.astype(np.float32)
        samples /= np.float32(2**15)
        return [Lost(ahead, "stalled"), samples] if ahead else [samples]


class Udp:
    """A port of this machine, to which a microphone sends."""

    opening_seconds = _OPENING_SECONDS
    stall_seconds = _STALL_SECONDS

    def __init__(self, address: str, sample_rate: int, channels: int) -> None:
        """Prepare to listen at `address`, as udp:[HOST:]PORT."""
        self._address = udp_address(address)
        self._format = sample_rate, channels
        self.description = f"packets at {address!r}"

    def open(self) -> "UdpStream":
        """Listen at the port.

        Raises:
            SourceError: The address is not one of this machine, or is in use.
        """
        host, port = self._address
        try:
            (family, *_, place), *_ = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )
            listener = socket.socket(family, socket.SOCK_DGRAM)
            try:
                listener.bind(place)
            except OSError:
                listener.close()
                raise
        except OSError as error:
            raise SourceError(f"{self.description}: {error.strerror}") from error
        except UnicodeError:
            raise SourceError(f"{self.description}: it is no host's name") from None
        return UdpStream(listener, PacketReader(*self._format))


class UdpStream:
    """The samples that arrive at a port."""

    def __init__(self, listener: socket.socket, reader: PacketReader) -> None:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        self._socket = listener
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._reader = reader
        self._waiting: deque[Samples | Lost] = deque()

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self._reader.sample_rate

    @property
    def channels(self) -> int:
        """Channels of a packet."""
        return self._reader.channels

    def read(self, timeout_seconds: float) -> Samples | Lost | None:
        """Wait for samples; see `SourceStream`.

        Raises:
            SourceError: The network is gone.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self._is_enough and (left := deadline - time.monotonic()) > 0:
            self._poll.poll(left * 1e3)
            self._receive()
        if not self._waiting:
            return None
        if isinstance(self._waiting[0], Lost):
            return self._waiting.popleft()
        parts: list[Samples] = []
        while self._waiting and not isinstance(part := self._waiting[0], Lost):
            if parts and len(part) != len(parts[0]):
                break
            parts.append(part)
            self._waiting.popleft()
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        """Close the port."""
        self._socket.close()

    @property
    def _is_enough(self) -> bool:
        counts = (
            it.count if isinstance(it, Lost) else it.shape[1] for it in self._waiting
        )
        return sum(counts) >= _BLOCK_SECONDS * self.sample_rate

    def _receive(self) -> None:
        """Take all packets that have arrived, up to a block."""
        while not self._is_enough:
            try:
                packet, (host, *_) = self._socket.recvfrom(_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                raise SourceError(f"the network is gone: {error.strerror}") from error
            self._waiting += self._reader.push(packet, host, time.monotonic())
