"""A canary with a captured source, on a fake clock."""

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
from monitor.runtime.canary import Canary, Start
from monitor.runtime.canary_trial import CanaryError, Chain, MakeResampler, Sound
from monitor.runtime.health import HealthReports
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
    """The future of a thread that has ended."""
    made: Future[Sound] = Future()
    try:
        made.set_result(make())
    except CanaryError as error:
        made.set_exception(error)
    return made


class RecordedTimeline(Timeline):
    """Notes the first sample of each read."""

    def __init__(self, name: str, sample_rate: int, capacity_seconds: float) -> None:
        super().__init__(name, sample_rate, capacity_seconds)
        self.starts: list[int] = []

    def read(self, start: int, stop: int) -> tuple[int, Samples]:
        self.starts.append(start)
        return super().read(start, stop)


class SourceUnderTest:
    """A live source with captured samples, and the canary that tests it."""

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
        self.reports = HealthReports()
        self.timeline = RecordedTimeline("street", RATE, 30.0)
        self.timeline.open(captured.shape[0])
        self.timeline.write(captured, self.clock.monotonic())
        self.timeline.source_rate = source_rate
        settings = parse_config(LIVE + config, "config.yaml")
        self.canary = Canary(
            settings.canary,
            ["street"],
            Chain.of(settings, classifier),
            {"street": self.timeline},
            self.reports,
            self.clock,
            make_resampler=make_resampler,
            start=start,
        )

    def run(
        self,
        seconds: float = 4000.0,
        *,
        backlog: int = 0,
        state: SourceStateName = "listening",
    ) -> CanaryResult | None:
        """Report as a worker does until a trial ends; None: none ended in time."""
        before = self.canary.canary_results
        template = statistics("street", state=state)
        source = replace(template.sources[0], backlog_samples=backlog)
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.canary.report(replace(template, sources=(source,)))
            self.clock.advance(0.25)
            if self.canary.canary_results is not before:
                return self.canary.canary_results[-1]
        return None

    def result(self) -> CanaryResult:
        """Of the next trial."""
        result = self.run()
        assert result is not None
        return result

    def health(self) -> list[tuple[str, str]]:
        """Source and state of the health records since the last call."""
        records = self.reports.drain(lambda _: self.timeline.stop)
        assert all(record.kind == "canary" for record in records)
        return [(record.source, record.state) for record in records]
