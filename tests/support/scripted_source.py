"""A source that follows a script, on a fake clock."""

import threading
from dataclasses import dataclass, field

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from monitor.errors import SourceError
from tests.support.clock import FakeClock

FOR_EVER = 1e9


class FakeStop(threading.Event):
    """Event whose `wait` only advances the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self._clock.advance(timeout)
        return self.is_set()


@dataclass(frozen=True)
class Steady:
    """Samples of value 0.5, delivered in real time."""

    seconds: float
    block_seconds: float = 0.1


@dataclass(frozen=True)
class Silence:
    """Nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Burst:
    """Samples of so many seconds, delivered at once."""

    seconds: float


@dataclass(frozen=True)
class Overflow:
    """A loss of so many seconds, in real time."""

    seconds: float


Step = Steady | Silence | Burst | Overflow | Exception


@dataclass
class ScriptedSource:
    """Each opening plays the next of `lives`; after the last one `stop` is set."""

    clock: FakeClock
    stop: threading.Event
    lives: list[list[Step]]
    rate: int = 8_000
    opening_seconds: float = 6.0
    stall_seconds: float = 2.0
    description: str = "microphone 'scripted'"
    opened_at: list[float] = field(default_factory=list)
    closed: int = 0

    def open(self) -> "ScriptedStream":
        self.opened_at.append(self.clock.monotonic())
        steps: list[Step] = [SourceError("no more lives")]
        if self.lives:
            steps = self.lives.pop(0)
        else:
            self.stop.set()
        if steps and isinstance(steps[0], Exception):
            raise steps[0]
        return ScriptedStream(self, list(steps))


class ScriptedStream:
    """One life of a scripted source."""

    def __init__(self, source: ScriptedSource, steps: list[Step]) -> None:
        self.sample_rate = source.rate
        self.channels = 1
        self._source = source
        self._clock = source.clock
        self._steps = steps
        self._left = 0.0  # seconds of the present step

    def read(self, timeout_seconds: float) -> Samples | Lost | None:
        if not self._steps:
            if self._source.lives:
                raise SourceError("the script is over")
            self._source.stop.set()
            return None
        step = self._steps[0]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Silence):
            return self._deliver_nothing(step, timeout_seconds)
        if isinstance(step, Steady):
            return self._deliver(step)
        self._steps.pop(0)
        count = round(step.seconds * self.sample_rate)
        if isinstance(step, Overflow):
            self._clock.advance(step.seconds)
            return Lost(count)
        return self._samples(step.seconds)

    def close(self) -> None:
        self._source.closed += 1

    def _deliver_nothing(self, step: Silence, timeout_seconds: float) -> None:
        self._left = self._left or step.seconds
        passing = min(self._left, timeout_seconds)
        self._clock.advance(passing)
        self._left -= passing
        if self._left <= 1e-9:
            self._left = 0.0
            self._steps.pop(0)

    def _deliver(self, step: Steady) -> Samples:
        self._left = self._left or step.seconds
        passing = min(self._left, step.block_seconds)
        self._clock.advance(passing)
        self._left -= passing
        if self._left <= 1e-9:
            self._left = 0.0
            self._steps.pop(0)
        return self._samples(passing)

    def _samples(self, seconds: float) -> Samples:
        return np.full((1, round(seconds * self.sample_rate)), 0.5, np.float32)


def failing(times: int, sentence: str = "there is no microphone") -> list[list[Step]]:
    """Return so many lives that fail at opening."""
    return [[SourceError(sentence)] for _ in range(times)]
