"""What a sender expects of every hook."""

from dataclasses import dataclass
from typing import Protocol

from monitor.sinks.alerts.outbox import Alert


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint has it."""

    detail: str = ""
    """What the endpoint answered, for `alerts show`; no secrets."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not get there; trying again later may help."""

    reason: str
    after_seconds: float | None = None
    """What the endpoint asked for; None: as the back-off says."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint will never take it: trying again would change nothing."""

    reason: str


Outcome = Delivered | Retry | Refused


class Hook(Protocol):
    """Carries alerts to one endpoint, one at a time.

    Its constructor takes its section of the settings, reads secrets and raises
    ConfigError with the place of what is wrong; it does not connect.  Expected trouble
    of a delivery is a Retry or Refused.
    """

    @property
    def target(self) -> str:
        """Where alerts go, for people: without secrets and user parts."""

    @property
    def total_seconds(self) -> float:
        """Longest time of a delivery by the clock; then the sender breaks it off."""

    def deliver(self, alert: Alert, /) -> Outcome:
        """Carry one alert.  Blocks; runs on a thread of its own."""

    def cancel(self) -> None:
        """Break off the delivery that is under way, if any.  Runs on another thread.

        `deliver` then returns or raises soon, whatever: nobody looks at it any more.
        The hook stays usable.
        """

    def close(self) -> None:
        """Give back connections.  No delivery is begun afterwards."""
