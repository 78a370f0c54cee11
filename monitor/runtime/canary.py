"""The canary: a known sound must be detected again and again, for each live source."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.timeline import Timeline
from monitor.clock import Clock
from monitor.config.audio import CanarySettings
from monitor.errors import shortage
from monitor.records import Gap, ScoreFrame, Timed
from monitor.runtime.canary_trial import (
    CanaryError,
    Chain,
    KnownSound,
    MakeResampler,
    Sound,
    Steps,
    known_sounds,
    mix,
    render,
    run_trial,
)
from monitor.runtime.health import HealthReport, HealthReports
from monitor.sinks.sink import Sink
from monitor.statistics import CanaryResult, Statistics

logger = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
"""Time from the begin of listening to a source to its first trial."""

RETRY_SECONDS = 300.0
"""Longest interval after a failed trial."""

MAX_TRIAL_SECONDS = 60.0

MAX_BACKLOG_SECONDS = 2.0
"""Backlog above which the trial pauses."""

Start = Callable[[Callable[[], Sound]], Future[Sound]]
"""Runs a function in the background."""


def start_thread(make: Callable[[], Sound]) -> Future[Sound]:
    """Run `make` on a thread that ends with it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="canary")
    sound = pool.submit(make)
    pool.shutdown(wait=False)
    return sound


@dataclass(slots=True)
class _Source:
    """A live source and the state of its trials."""

    name: str
    due: float | None = None
    """Monotonic time of the next trial; None: not listened to yet."""

    gap_stop: int = 0
    """First sample after the newest gap."""

    similar_until: int = -1
    """Captured samples may hold a sound of the canary's label up to here."""

    is_raised: bool = False
    """Health is raised."""


@dataclass(slots=True)
class _Trial:
    """The trial in progress."""

    source: _Source
    began: float
    is_alone: bool
    """The captured samples are left out."""

    steps: Steps = field(init=False)


class Canary(Sink):
    """Tests each live source at intervals, in a pipeline of its own.

    A known sound is mixed into a copy of the newest captured samples and analysed by
    the resampler, front end, network and rules in use; an event of its label, at its
    time, must result.  A failed trial is repeated without the captured samples, which
    may have masked the sound; if that fails too, health is raised.

    The network belongs to the worker's thread, so a trial computes one window per
    report, and none while there is a backlog.  Only the sound is made on another
    thread.
    """

    def __init__(
        self,
        settings: CanarySettings,
        sources: Sequence[str],
        chain: Chain,
        timelines: Mapping[str, Timeline],
        health: HealthReports,
        clock: Clock,
        *,
        make_resampler: MakeResampler = StreamResampler,
        start: Start = start_thread,
    ) -> None:
        """Prepare to test `sources`, which are live, at the interval of `settings`."""
        assert settings.every_seconds is not None
        self.canary_results: tuple[CanaryResult, ...] = ()
        self._sounds = known_sounds(settings.label, chain)
        self._tried = 0
        self._is_proven = False
        """True once a sound was detected: from then on it must be."""

        self._first_error: CanaryError | None = None
        """Fault of the first sound, while others are tried."""

        if self.sound is None:
            logger.warning(
                "the canary has no sound that the model and its rules can detect; it "
                "only recomputes the golden vector of the model"
            )
        self._every_seconds = settings.every_seconds
        self._sources = {name: _Source(name) for name in sources}
        self._chain = chain
        self._timelines = timelines
        self._health = health
        self._clock = clock
        self._make_resampler = make_resampler
        self._start = start
        self._trial: _Trial | None = None

    @property
    def sound(self) -> KnownSound | None:
        """The sound that is mixed in; None: there is none for these models."""
        return self._sounds[self._tried] if self._sounds else None

    def write(self, batch: Sequence[Timed]) -> None:
        """Remember gaps and similar sounds in the captured samples."""
        for timed in batch:
            record = timed.record
            source = self._sources.get(record.source)
            if source is None:
                continue
            if isinstance(record, Gap) and record.reason != "overload":
                source.gap_stop = record.stop
            elif isinstance(record, ScoreFrame) and self._is_similar(record):
                source.similar_until = record.stop

    def report(self, statistics: Statistics) -> None:
        """Begin a trial that is due, or take the next step of the current one."""
        now = self._clock.monotonic()
        if self._trial is None:
            for each in statistics.sources:
                source = self._sources.get(each.source)
                if source is not None and each.state == "listening":
                    self._begin_if_due(source, now)
            return
        backlog = max(each.backlog_samples for each in statistics.sources)
        if now - self._trial.began > MAX_TRIAL_SECONDS:
            late = CanaryError(f"it took longer than {MAX_TRIAL_SECONDS:g} s")
            self._end(self._trial, now, late)
        elif backlog < MAX_BACKLOG_SECONDS * self._chain.models.spec.sample_rate:
            self._advance(self._trial, now)

    def close(self) -> None:
        """Drop the trial in progress, and clear the health that was raised."""
        self._trial = None
        for source in self._sources.values():
            if source.is_raised:
                detail = "it is no longer tested in this way"
                self._health.post(
                    HealthReport("canary", "cleared", detail, source.name)
                )

    def _is_similar(self, frame: ScoreFrame) -> bool:
        if self.sound is None:
            return False
        index = self._chain.models.labels.index(self.sound.label)
        rule = self._chain.rules[self.sound.label]
        return frame.scores[index] >= rule.offset_threshold

    def _begin_if_due(self, source: _Source, now: float) -> None:
        if source.due is None:
            source.due = now + FIRST_SECONDS
        if now >= source.due and self._trial is None:
            self._begin(source, now, is_alone=False)

    def _begin(self, source: _Source, now: float, *, is_alone: bool) -> None:
        self._trial = _Trial(source, now, is_alone)
        if self.sound is None:
            self._trial.steps = run_trial(self._chain, "", None)
        else:
            self._trial.steps = self._steps(self._trial, self.sound)

    def _steps(self, trial: _Trial, known: KnownSound) -> Steps:
        rate = self._chain.models.spec.sample_rate
        source_rate = self._timelines[trial.source.name].source_rate or rate
        sound = self._start(
            lambda: render(known, source_rate, rate, self._make_resampler)
        )
        while not sound.done():
            yield
        mixture = self._mix(trial, sound.result())
        return (yield from run_trial(self._chain, known.label, mixture))

    def _mix(self, trial: _Trial, sound: Sound) -> Samples:
        """Mix the sound into the newest captured samples."""
        source, timeline = trial.source, self._timelines[trial.source.name]
        stop = timeline.stop
        start = max(stop - self._chain.mixture_samples(sound), source.gap_stop)
        _, captured = timeline.read(start, stop)
        if source.similar_until > start:
            trial.is_alone = True
        if trial.is_alone:
            captured = np.zeros_like(captured)
        return mix(sound, captured, self._chain)

    def _advance(self, trial: _Trial, now: float) -> None:
        try:
            next(trial.steps)
        except StopIteration as end:
            self._end(trial, now, None, end.value)
        except CanaryError as error:
            self._end(trial, now, error)
        # To find failures of any kind is the canary's purpose.
        except Exception as error:  # noqa: BLE001 - becomes health
            cause = shortage(error) or f"{type(error).__name__}: {error}"
            fault = f"it failed unexpectedly: {cause}"
            self._end(trial, now, CanaryError(fault))

    def _end(
        self,
        trial: _Trial,
        now: float,
        error: CanaryError | None,
        score: float | None = None,
    ) -> None:
        self._trial, tested = None, self.sound
        source = trial.source
        if error is not None and not trial.is_alone and self.sound is not None:
            logger.debug("canary of %r: %s; again", source.name, error)
            self._begin(source, now, is_alone=True)
            return
        if error is not None and not self._is_proven:
            self._first_error = self._first_error or error
            if self._tries_next():
                logger.debug("canary of %r: %s; another sound", source.name, error)
                self._begin(source, now, is_alone=True)
                return
            error, tested = self._first_error, self.sound
        self._first_error = None
        self._is_proven |= error is None
        wait = self._every_seconds
        source.due = now + (wait if error is None else min(wait, RETRY_SECONDS))
        result = CanaryResult(
            source.name,
            self._clock.utc(),
            error is None,
            "" if error is None else str(error),
            None if tested is None else tested.label,
            score if error is None else error.score,
            now - trial.began,
        )
        others = (each for each in self.canary_results if each.source != source.name)
        self.canary_results = (*others, result)
        logger.debug("%s", result)
        self._report_health(source, error)

    def _tries_next(self) -> bool:
        """Go on to the next sound, if none was ever detected.

        Not every model knows every synthetic sound well enough for its threshold.
        """
        if not self._sounds:
            return False
        self._tried = (self._tried + 1) % len(self._sounds)
        return self._tried > 0

    def _report_health(self, source: _Source, error: CanaryError | None) -> None:
        if error is not None:
            detail = f"the test sound was not detected as expected: {error}"
            report = HealthReport("canary", "raised", detail, source.name)
        else:
            detail = "the test sound is detected again"
            report = HealthReport("canary", "cleared", detail, source.name)
        if source.is_raised != (error is not None):
            level = logging.INFO if error is None else logging.ERROR
            logger.log(level, "source %r: %s", source.name, detail)
        source.is_raised = error is not None
        # Also after the first success: health may be raised from before a reload.
        self._health.post(report)
