"""Hooks that behave as told, and remember the alerts that they took."""

import threading

from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.hooks import Delivered, Outcome, Retry

DEADLINE_SECONDS = 10.0


class FakeHook:
    """Returns the outcomes given, and remembers the alerts taken."""

    target = "nowhere"
    total_seconds = 5.0

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.taken: list[Alert] = []
        self.closed = False

    def deliver(self, alert: Alert) -> Outcome:
        self.taken.append(alert)
        return self.outcomes.pop(0) if self.outcomes else Delivered()

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    @property
    def numbers(self) -> list[int]:
        return [alert.body["number"] for alert in self.taken]


class StuckHook(FakeHook):
    """Hangs where nothing can wake it, as in the resolver."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.total_seconds = 0.2

    def deliver(self, alert: Alert) -> Outcome:
        self.taken.append(alert)
        self.release.wait(DEADLINE_SECONDS)
        return Delivered()


class PickyHook(FakeHook):
    """Fails at the first alert, always."""

    def deliver(self, alert: Alert) -> Outcome:
        self.taken.append(alert)
        return Retry("bad") if alert.body["number"] == 0 else Delivered()
