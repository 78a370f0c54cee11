"""A canary with all that it needs to sing, on a clock of our own."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.timeline import Timeline
from monitor.config.load import parse_config
from monitor.model.classifier import Classifier
from monitor.records import SourceStateName
from monitor.runtime.canary import Canary, ears_of
from monitor.runtime.canary_trial import CanaryError, MakeResampler, Sound, Start
from monitor.runtime.health import HealthReports
from monitor.runtime.services import AudioHistory
from monitor.statistics import CanaryResult
from tests.support.clock import FakeClock
from tests.support.timed import statistics

RATE = 44_100
LIVE = "sources: [{name: street, input: 'mic:default'}]\n"


def noise(seconds: float, dbfs: float, channels: int = 1) -> Samples:
    generator = np.random.default_rng(7)
    shape = (channels, round(seconds * RATE))
    return (generator.standard_normal(shape) * 10 ** (dbfs / 20)).astype(np.float32)


def at_once(make: Callable[[], Sound]) -> Future[Sound]:
    """What a thread would have done by now."""
    made: Future[Sound] = Future()
    try:
        made.set_result(make())
    except CanaryError as error:
        made.set_exception(error)
    return made


class Cage:
    """A canary with a source that was captured, a worker's reports, and a desk."""

    def __init__(
        self,
        classifier: Classifier,
        captured: Samples,
        config: str = "",
        *,
        source_rate: int = RATE,
        make_resampler: MakeResampler = StreamResampler,
        start: Start = at_once,
    ) -> None:
        self.clock = FakeClock()
        self.desk = HealthReports()
        self.timeline = Timeline("street", RATE, 30.0)
        self.timeline.open(captured.shape[0])
        self.timeline.write(captured, self.clock.monotonic())
        self.timeline.source_rate = source_rate
        past = AudioHistory()
        past.follow([self.timeline])
        settings = parse_config(LIVE + config, "config.yaml")
        self.canary = Canary(
            settings.canary,
            ["street"],
            ears_of(settings, classifier),
            past,
            self.desk,
            self.clock,
            make_resampler=make_resampler,
            start=start,
        )

    def let_sing(
        self,
        seconds: float = 4000.0,
        *,
        backlog: int = 0,
        state: SourceStateName = "listening",
    ) -> CanaryResult | None:
        """Report as a worker does, until a trial has ended or the time is over."""
        before = self.canary.canary_results
        doing = statistics("street", state=state)
        source = replace(doing.sources[0], backlog_samples=backlog)
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until and self.canary.canary_results is before:
            self.canary.report(replace(doing, sources=(source,)))
            self.clock.advance(0.25)
        return (
            None
            if self.canary.canary_results is before
            else self.canary.canary_results[-1]
        )

    def result(self) -> CanaryResult:
        """Of the next trial."""
        result = self.let_sing()
        assert result is not None
        return result

    def health(self) -> list[tuple[str, str]]:
        """What the worker would tell now."""
        told = self.desk.drain(lambda _: self.timeline.stop)
        assert all(each.kind == "canary" for each in told)
        return [(each.source, each.state) for each in told]
