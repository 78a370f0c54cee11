"""Whether the monitor truly listens: sound comes in, and is analysed."""

from monitor.records import EVERY_SOURCE, HealthKind, Statistics

FRESH_SECONDS = 15.0
"""What has not moved for so long stands still."""

DEAFENING: frozenset[HealthKind] = frozenset(
    {"digital-silence", "stuck-channel", "canary"}
)
"""With these troubles samples come, but what sounds would not be heard."""


class Listening:
    """Judges by what has moved lately, not by what somebody says.

    A source counts as listened to while its state says so and the worker still takes
    samples of it that are sound, none that were lost.  A worker that hangs reports
    nothing, so nothing moves.  What is known to hear nothing does not listen either.
    """

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._moved: dict[str, float] = {}
        self._listening: dict[str, bool] = {}

    def report(self, statistics: Statistics, now: float) -> None:
        """Learn how the monitor is doing.

        Args:
            statistics: Of this moment.
            now: Monotonic seconds.
        """
        # A reload may have taken some away.
        self._listening = {}
        for each in statistics.sources:
            taken = each.captured_samples - each.backlog_samples
            # A source that a reload opened anew begins at nothing.
            if taken != self._taken.get(each.source, 0):
                self._taken[each.source] = taken
                self._moved[each.source] = now
            self._listening[each.source] = each.state == "listening"
        for trouble in statistics.troubles:
            if trouble.kind in DEAFENING:
                self._deafen(trouble.source)
        # A recording that is over is missing to nobody, unless there is nothing else.
        over = {each.source for each in statistics.sources if each.state == "ended"}
        if over < self._listening.keys():
            for source in over:
                del self._listening[source]

    def deaf(self, now: float) -> list[str]:
        """Names of the sources that are not listened to."""
        return [
            source
            for source, listens in self._listening.items()
            if not listens or now - self._moved.get(source, -1e9) >= FRESH_SECONDS
        ]

    def is_enough(self, now: float, rule: str) -> bool:
        """Whether `all` or `any` of the sources are listened to."""
        if not self._listening:
            return False
        deaf = len(self.deaf(now))
        return deaf == 0 if rule == "all" else deaf < len(self._listening)

    def _deafen(self, source: str) -> None:
        for name in self._listening:
            if source in (name, EVERY_SOURCE):
                self._listening[name] = False
