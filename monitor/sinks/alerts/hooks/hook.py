"""The protocol of hooks, and the outcomes of a delivery."""

from dataclasses import dataclass
from typing import Protocol

from monitor.sinks.alerts.outbox import Alert


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint has the alert."""

    detail: str = ""
    """The answer of the endpoint, for `alerts show`, without secrets."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not get there; trying again later may help."""

    reason: str
    after_seconds: float | None = None
    """The pause that the endpoint asked for; None: as the back-off says."""


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
        """The destination, for people, without secrets and user parts."""

    @property
    def total_seconds(self) -> float:
        """Longest time of a delivery; then the sender cancels it."""

    def deliver(self, alert: Alert, /) -> Outcome:
        """Carry one alert.  Blocks; runs on a thread of its own."""

    def cancel(self) -> None:
        """End the delivery under way, if there is one.  Runs on another thread.

        `deliver` then returns or raises soon; its outcome is ignored unless it is
        Delivered.  The hook stays usable.
        """

    def close(self) -> None:
        """Close connections.  No delivery begins afterwards."""
