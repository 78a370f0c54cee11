"""Viewers of the live feed: what waits for each, and who makes room for another."""

import asyncio
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from monitor.web.addresses import network_of

FOR_ALL = frozenset({"hello", "offline", "dropped"})
"""Types of lines about the feed itself, which every viewer gets."""


class Line(NamedTuple):
    """A line of the feed, or one that this process adds."""

    number: int
    kind: str
    source: str | None
    event: bytes
    """The server-sent event, the same for all viewers."""


class Visitor(NamedTuple):
    """Whose browser it is."""

    address: str
    session: str
    """Empty: none is needed."""

    is_owner: bool

    @property
    def shares(self) -> tuple[str, ...]:
        """Network, address and session, which count together."""
        return network_of(self.address), self.address, self.session


@dataclass(eq=False)
class Viewer:
    """A browser that follows."""

    visitor: Visitor
    kinds: frozenset[str]
    sources: frozenset[str]
    waiting: deque[Line] = field(default_factory=deque)
    waiting_bytes: int = 0
    waits_since: float = 0.0
    """Monotonic time since when the oldest of them waits."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    def wants(self, kind: str, source: str | None) -> bool:
        """Return True if it has chosen such lines; what has no source, everybody."""
        return (not self.kinds or kind in self.kinds | FOR_ALL) and (
            not self.sources or source is None or source in self.sources
        )

    def add(self, line: Line) -> None:
        """Let a line wait for it."""
        if not self.waiting:
            self.waits_since = monotonic()
        self.waiting.append(line)
        self.waiting_bytes += len(line.event)
        self.wake.set()

    def take(self) -> bytes:
        """Return the events that wait, which wait no longer."""
        self.wake.clear()
        events = b"".join(line.event for line in self.waiting)
        self.waiting.clear()
        self.waiting_bytes = 0
        return events

    def end(self) -> None:
        """End its stream."""
        self.is_over = True
        self.waiting.clear()
        self.wake.set()


def greediest(viewers: Collection[Viewer], visitor: Visitor) -> Viewer | None:
    """Return the viewer that makes room for one of `visitor`; None: all may stay.

    It is one of a network, an address or a session with two places more than the
    visitor has; and for the owner, one of those who only look.
    """
    lookers = [each for each in viewers if not each.visitor.is_owner]
    is_first = visitor.is_owner and bool(lookers)
    rivals = viewers if visitor.is_owner and not lookers else lookers
    held = Counter(name for each in rivals for name in enumerate(each.visitor.shares))

    def places(it: Visitor) -> tuple[int, ...]:
        return tuple(held[name] for name in enumerate(it.shares))

    for part, own in enumerate(places(visitor)):
        # Of equal ones, that of whoever has the most places within their network.
        most = max(
            rivals,
            key=lambda each: (places(each.visitor)[part], places(each.visitor)),
            default=None,
        )
        if most and (is_first or places(most.visitor)[part] > own + 1):
            return most
        # Only from these would the place not be taken back at once.
        rivals = [
            each
            for each in rivals
            if each.visitor.shares[part] == visitor.shares[part]
            or places(each.visitor)[part] > own
        ]
    return None
