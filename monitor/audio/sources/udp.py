"""Packets at a port of this machine, as a small device with a microphone sends them."""

import logging
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from math import inf

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.sources.rtp import PacketReader, Rejected
from monitor.audio.sources.source import Lost
from monitor.config.audio import udp_address
from monitor.errors import SourceError

logger = logging.getLogger(__name__)

_OPENING_SECONDS = 10.0
_STALL_SECONDS = 5.0

_PACKET_BYTES = 65_536
_RECEIVE_BYTES = 2**20
_SO_RXQ_OVFL = 40
"""Linux says with each packet how many before it found no room (socket(7))."""

_MOST_PACKETS = 64
"""Packets that are received between two looks at the clock."""

_BLOCK_SECONDS = 0.02
"""Packets are joined until they last so long: each block wakes the monitor up."""

_TINY_SECONDS = 0.002
"""Losses that are shorter are summed up behind their block: each would cost much."""

_WRONG_SECONDS = 2.0
_WRONG_PACKETS = 10
"""So many packets that cannot be read, and none that can for so long, are a fault."""

_MOST_SAID = 10
_COUNT_SECONDS = 3600.0
_CHANGE_SECONDS = 60.0
"""Shortest time between log lines about another sender that is heard."""


class RejectedPackets:
    """Says once of each sender why its packets are left out, and later how many.

    Not thread-safe.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._said: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._said_at = 0.0

    def add(self, host: str, reason: str, now: float) -> None:
        """Count a packet from `host`."""
        if not self._counts:
            self._said_at = now
        is_known = host in self._counts or len(self._counts) < _MOST_SAID
        self._counts[host if is_known else "others"] += 1
        if host not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(host)
            logger.warning(
                "%s: those of %s are left out: they %s", self._description, host, reason
            )
        if now - self._said_at >= _COUNT_SECONDS:
            counts = (f"{count} of {host}" for host, count in self._counts.items())
            logger.warning(
                "%s: left out in the latest hour: %s",
                self._description,
                ", ".join(counts),
            )
            self._said &= self._counts.keys()
            self._counts.clear()


class FollowedSender:
    """Says whose packets are heard if that changes.  Not thread-safe."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._host = ""
        self._said_at = -inf

    def follow(self, host: str, now: float) -> None:
        """Take the address of the sender whose packets are heard now."""
        if self._host not in ("", host) and now - self._said_at >= _CHANGE_SECONDS:
            self._said_at = now
            logger.warning(
                "%s: those of %s are heard now, before it were those of %s",
                self._description,
                host,
                self._host,
            )
        self._host = host


class Udp:
    """A port of this machine, to which a microphone sends."""

    opening_seconds = _OPENING_SECONDS
    stall_seconds = _STALL_SECONDS

    def __init__(self, address: str, sample_rate: int, channels: int) -> None:
        """Prepare to listen at `address`, as udp:[ADDRESS:]PORT."""
        self._address = udp_address(address)
        self._format = sample_rate, channels
        self._place = self.description = f"packets at {address!r}"
        self._rejected = RejectedPackets(self.description)
        self._followed = FollowedSender(self.description)

    def follow(self, host: str, now: float) -> None:
        """Name the sender whose packets are heard."""
        self._followed.follow(host, now)
        self.description = f"{self._place} from {host}"

    def open(self) -> "UdpStream":
        """Listen at the port.

        Raises:
            SourceError: The address is not one of this machine, or is in use.
        """
        self.description = self._place
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.socket(family, socket.SOCK_DGRAM)
            try:
                listener.bind((host, port))  # an IP address: no name server is asked
            except OSError:
                listener.close()
                raise
        except OSError as error:
            raise SourceError(f"{self.description}: {error.strerror}") from error
        return UdpStream(
            listener,
            PacketReader(*self._format),
            self._rejected,
            self.description,
            self.follow,
        )


class UdpStream:
    """The samples that arrive at a port."""

    def __init__(
        self,
        listener: socket.socket,
        reader: PacketReader,
        rejected: RejectedPackets,
        description: str,
        follow: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self._socket = listener
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._reader = reader
        self._rejected = rejected
        self._description = description
        self._follow, self._host = follow, ""
        self._waiting: deque[Samples | Lost] = deque()
        self._tiny = 0  # samples lost in the block that was returned last
        self._overruns, self._is_overrun = b"", False
        self._wrong: Counter[str] = Counter()
        self._wrong_since = 0.0

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

        Tiny losses among the samples of a block come in one sum behind it.

        Raises:
            SourceError: The network is gone, or nothing that comes can be read.
        """
        if self._tiny:
            lost, self._tiny = self._tiny, 0
            return Lost(lost, "stalled")
        deadline = time.monotonic() + timeout_seconds
        while not self._is_enough and (left := deadline - time.monotonic()) > 0:
            self._poll.poll(left * 1e3)
            self._receive()
        if not self._waiting:
            return None
        if isinstance(self._waiting[0], Lost):
            return self._waiting.popleft()
        parts: list[Samples] = []
        while self._waiting:
            part = self._waiting[0]
            if isinstance(part, Lost):
                if part.count > _TINY_SECONDS * self.sample_rate:
                    break
                self._tiny += part.count
            elif parts and len(part) != len(parts[0]):
                break
            else:
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
        """Take packets that have arrived, up to a block."""
        for _ in range(_MOST_PACKETS):
            if self._is_enough:
                return
            try:
                packet, said, _, (host, *_) = self._socket.recvmsg(_PACKET_BYTES, 64)
            except BlockingIOError:
                return
            except OSError as error:
                raise SourceError(f"the network is gone: {error.strerror}") from error
            now = time.monotonic()
            self._count_overruns(said)
            found = self._reader.push(packet, host, now)
            if isinstance(found, Rejected):
                self._rejected.add(host, found.reason, now)
                self._check(found.reason, now)
            elif found:
                self._add(found)
                self._wrong.clear()
                if self._reader.host != self._host:
                    self._host = self._reader.host
                    self._follow(self._host, now)

    def _count_overruns(self, said: list[tuple[int, int, bytes]]) -> None:
        """Note that the kernel has dropped packets: they were not read in time."""
        for _, kind, count in said:
            if kind == _SO_RXQ_OVFL and count != self._overruns:
                self._overruns, self._is_overrun = count, True

    def _add(self, parts: list[Samples | Lost]) -> None:
        """Add what a packet completes; the first loss after an overrun is its work."""
        for part in parts:
            if isinstance(part, Lost) and self._is_overrun:
                self._waiting.append(replace(part, reason="overrun"))
                self._is_overrun = False
            else:
                self._waiting.append(part)

    def _check(self, reason: str, now: float) -> None:
        """Raise an error if for some time nothing has come that can be read."""
        if not self._wrong:
            self._wrong_since = now
        self._wrong[reason] += 1
        ((usual, count),) = self._wrong.most_common(1)
        if count >= _WRONG_PACKETS and now - self._wrong_since >= _WRONG_SECONDS:
            raise SourceError(f"{self._description} {usual}")
