"""Sessions of the web page, in memory, and the throttle of signing in."""

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from monitor.web.addresses import network_of
from monitor.web.passwords import Role

COOKIE = "sound-monitor-session"

IDLE_SECONDS = 24 * 3600.0
"""A session ends if no page has asked anything for so long."""

ABSOLUTE_SECONDS = 30 * 24 * 3600.0
"""It ends after this long in any case."""

MAX_SESSIONS = 128
"""Above this number of a role, the one of it that was used least recently ends."""


@dataclass(slots=True)
class Session:
    """One browser that has signed in."""

    role: Role
    token: str
    """Every change must come with it: a foreign page does not know it."""

    began: float
    used: float


class Sessions:
    """The sessions by their random id.  Used by the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Begin without any; `clock` is monotonic, in seconds."""
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, role: Role) -> str:
        """Begin a session; return its id."""
        now = self._clock()
        name = secrets.token_urlsafe(32)
        self._sessions[name] = Session(role, secrets.token_urlsafe(32), now, now)
        own = [each for each, it in self._sessions.items() if it.role == role]
        for each in own[:-MAX_SESSIONS]:
            del self._sessions[each]
        return name

    def get(self, name: str) -> Session | None:
        """Return a session that goes on, and note its use."""
        session, now = self._sessions.get(name), self._clock()
        if session is None:
            return None
        if now - session.used > IDLE_SECONDS or now - session.began > ABSOLUTE_SECONDS:
            del self._sessions[name]
            return None
        session.used = now
        self._sessions.move_to_end(name)
        return session

    def end(self, name: str) -> None:
        """End a session."""
        self._sessions.pop(name, None)

    def clear(self) -> None:
        """End all, as after a change of passwords."""
        self._sessions.clear()


TRIES, TRIES_SECONDS = 5, 300.0
"""Wrong passwords that an address has in this time before it must wait."""

ALL_TRIES, ALL_SECONDS = 30, 60.0
"""Passwords that are hashed in this time for all addresses together."""

KEPT_TRIES = 10
"""Of these, for addresses from which the owner has signed in before."""

MAX_ADDRESSES = 1024


class Throttle:
    """Limits how often passwords are tried, before anything is hashed."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Begin without failures; `clock` is monotonic, in seconds."""
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._tries: deque[float] = deque()
        self._of_owner: OrderedDict[str, None] = OrderedDict()

    def attempt(self, address: str) -> float:
        """Count a try of `address`; return how long it must wait; 0: it may go on.

        It counts as a failure until it has `succeeded`, so that many at the same time
        gain nothing.
        """
        now, network = self._clock(), network_of(address)
        failures = self._failures.setdefault(network, deque())
        _bound(self._failures, network)
        most = ALL_TRIES - (0 if network in self._of_owner else KEPT_TRIES)
        wait = max(
            _wait(failures, now, TRIES, TRIES_SECONDS),
            _wait(self._tries, now, most, ALL_SECONDS),
        )
        if wait <= 0:
            failures.append(now)
            self._tries.append(now)
        return wait

    def succeeded(self, address: str, role: Role) -> None:
        """Forget the try of an address, and not the wrong ones before it.

        One with the viewers' password counts among all: it took a core as well.
        """
        network = network_of(address)
        if failures := self._failures.get(network):
            failures.pop()
        if role == "owner":
            self._of_owner[network] = None
            _bound(self._of_owner, network)
            if self._tries:
                self._tries.pop()


def _bound(networks: OrderedDict[str, Any], latest: str) -> None:
    """Keep the addresses that came last."""
    networks.move_to_end(latest)
    while len(networks) > MAX_ADDRESSES:
        networks.popitem(last=False)


def _wait(times: deque[float], now: float, most: int, seconds: float) -> float:
    while times and now - times[0] >= seconds:
        times.popleft()
    return seconds - (now - times[-most]) if len(times) >= most else 0.0
