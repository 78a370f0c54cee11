"""The canary: a known sound that must come out of the analysis, again and again.

Puts the canary together: what it tries is what is in use.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from monitor.audio.conditioning import StreamResampler
from monitor.clock import Clock
from monitor.config.audio import CanarySettings
from monitor.config.config import Config
from monitor.model.classifier import Classifier
from monitor.records import Gap, HealthState, ScoreFrame, Timed
from monitor.runtime.assembly import rules_of
from monitor.runtime.canary_trial import (
    GOLDEN,
    MIXED,
    CanaryError,
    Ears,
    MakeResampler,
    Slices,
    Song,
    Sound,
    Start,
    Verdict,
    choose_song,
    mix,
    render_song,
    run_trial,
    start_thread,
)
from monitor.runtime.health import HealthReport, HealthReports
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.services import AudioHistory
from monitor.sinks.sink import Sink
from monitor.statistics import CanaryResult, Statistics

logger = logging.getLogger(__name__)


FIRST_SECONDS = 5.0
"""From the moment at which a source is heard to its first trial."""

AGAIN_SECONDS = 300.0
"""After a failure the next trial comes so soon: it may be over."""

LONGEST_SECONDS = 60.0
"""A trial must be done by then."""

BACKLOG_SECONDS = 2.0
"""While so much waits to be analysed, the canary waits too."""

TAIL_HOPS = 2


@dataclass(slots=True)
class _Perch:
    """One source, and where its trials stand."""

    source: str
    due: float | None = None
    """When the next trial begins, monotonic seconds; None: it was not heard yet."""

    heard_from: int = 0
    """First sample after the newest gap."""

    sounding_until: int = -1
    """Up to here the very sound of the canary may be in what was captured."""

    is_raised: bool = False
    """Whether its health is raised."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """The trial that goes on."""

    perch: _Perch
    began: float
    sound: Future[Sound] | None
    """Being made; None: there is none, or it is mixed in."""

    slices: Slices | None
    is_alone: bool
    """Whether what was captured is left out."""


class Canary(Sink):
    """A sink that tries each live source now and then, on a path of its own.

    A known sound is mixed into a copy of the newest captured samples, and goes through
    the same resampler, front end, network and rules; it must come out as an event of
    its label, at its time.  If it does not, it is tried once more without what was
    captured, which may have been in its way; then health is raised.

    The network is used by one thread, the worker's: it computes a window at each
    report, and none while sound waits to be analysed.  Only the sound is made on a
    thread of its own.
    """

    def __init__(
        self,
        settings: CanarySettings,
        sources: Sequence[str],
        ears: Ears,
        past: AudioHistory,
        desk: HealthReports,
        clock: Clock,
        *,
        make_resampler: MakeResampler = StreamResampler,
        start: Start = start_thread,
    ) -> None:
        """Prepare; the first trial comes some seconds after a source is heard.

        Args:
            settings: Its section; `every_seconds` is not null.
            sources: Names of the live sources.
            ears: What is tried.
            past: The rings of all sources.
            desk: Where failures are told.
            clock: Of the machine.
            make_resampler: As the sources have it.
            start: Makes the sound, which takes a moment.
        """
        assert settings.every_seconds is not None, "it is not asked for"
        self.canary_results: tuple[CanaryResult, ...] = ()
        """The newest of each source.  Any thread: replaced as a whole."""

        self.song = choose_song(
            settings.label,
            ears.classifier.labels,
            ears.rules,
            ears.hop_samples,
            ears.classifier.spec,
        )
        """What is mixed in; None: there is no such sound for this model."""

        if self.song is None:
            logger.warning(
                "the canary has no sound that the model and its rules can tell; it "
                "only recomputes the golden vector of the model"
            )
        self._every_seconds = settings.every_seconds
        self._perches = {source: _Perch(source) for source in sources}
        self._ears = ears
        self._past = past
        self._desk = desk
        self._clock = clock
        self._make_resampler = make_resampler
        self._start = start
        self._trial: _Trial | None = None

    def write(self, batch: Sequence[Timed]) -> None:
        """Learn what is in the captured sound."""
        for timed in batch:
            record = timed.record
            perch = self._perches.get(record.source)
            if perch is None:
                continue
            if isinstance(record, Gap):
                perch.heard_from = record.stop
            elif isinstance(record, ScoreFrame) and self._may_hold_it(record):
                perch.sounding_until = record.stop

    def report(self, statistics: Statistics) -> None:
        """Begin a trial that is due, or compute the next window of the one that is."""
        now = self._clock.monotonic()
        if self._trial is None:
            for source in statistics.sources:
                perch = self._perches.get(source.source)
                if perch is not None and source.state == "listening":
                    self._begin_if_due(perch, now)
            return
        waiting = max(source.backlog_samples for source in statistics.sources)
        if now - self._trial.began > LONGEST_SECONDS:
            late = Verdict(f"it took longer than {LONGEST_SECONDS:g} s", math.nan)
            self._end(self._trial, late, now)
        elif waiting < BACKLOG_SECONDS * self._ears.classifier.spec.sample_rate:
            self._advance(self._trial, now)

    def close(self) -> None:
        """End; what is on its way is dropped, and what is raised is over."""
        self._trial = None
        for perch in self._perches.values():
            if perch.is_raised:
                detail = "it is not tried any more in this way"
                self._desk.post(HealthReport("canary", "cleared", detail, perch.source))

    def _may_hold_it(self, frame: ScoreFrame) -> bool:
        if self.song is None:
            return False
        index = self._ears.classifier.labels.index(self.song.label)
        return frame.scores[index] >= self._ears.rules[self.song.label].offset_threshold

    def _begin_if_due(self, perch: _Perch, now: float) -> None:
        if perch.due is None:
            perch.due = now + FIRST_SECONDS
        if now >= perch.due and self._trial is None:
            self._begin(perch, now, is_alone=False)

    def _begin(self, perch: _Perch, now: float, *, is_alone: bool) -> None:
        spec = self._ears.classifier.spec
        rate = self._past.source_rate(perch.source) or spec.sample_rate
        sound = None if self.song is None else self._make(self.song, rate)
        slices = run_trial(self._ears, "", None) if sound is None else None
        self._trial = _Trial(perch, now, sound, slices, is_alone)

    def _make(self, song: Song, rate: int) -> Future[Sound]:
        model_rate = self._ears.classifier.spec.sample_rate
        return self._start(
            lambda: render_song(song, rate, model_rate, self._make_resampler)
        )

    def _advance(self, trial: _Trial, now: float) -> None:
        try:
            if trial.slices is not None:
                next(trial.slices)
            elif trial.sound is not None and trial.sound.done():
                self._trial = self._mixed(trial, trial.sound.result())
        except StopIteration as end:
            self._end(trial, end.value, now)
        except CanaryError as error:
            self._end(trial, Verdict(str(error), math.nan), now)
        # Whatever it is, it was found in time: that is what the canary is for.
        except Exception as error:  # noqa: BLE001 - becomes health
            what = f"it failed unexpectedly: {type(error).__name__}: {error}"
            self._end(trial, Verdict(what, math.nan), now)

    def _mixed(self, trial: _Trial, sound: Sound) -> _Trial:
        """Mix the sound into what was captured last."""
        assert self.song is not None, "there is a sound"
        spec, hop = self._ears.classifier.spec, self._ears.hop_samples
        # The window before the sound holds none of it: so its beginning can be told.
        lead, tail = spec.window_samples + hop // 2, TAIL_HOPS * hop
        perch = trial.perch
        stop = self._past.stop(perch.source)
        start = max(stop - lead - sound.size - tail, perch.heard_from)
        _, captured = self._past.read(perch.source, start, stop)
        is_alone = trial.is_alone or perch.sounding_until > start
        if is_alone or not captured.size:
            captured = np.zeros((max(1, captured.shape[0]), 1), np.float32)
        mixture = mix(
            sound,
            captured,
            lead=lead,
            tail=tail,
            gate_dbfs=self._ears.gate_dbfs,
            model_rate=spec.sample_rate,
        )
        slices = run_trial(self._ears, self.song.label, mixture)
        return replace(trial, sound=None, slices=slices, is_alone=is_alone)

    def _end(self, trial: _Trial, verdict: Verdict, now: float) -> None:
        self._trial = None
        perch = trial.perch
        if not verdict.ok and not trial.is_alone and self.song is not None:
            logger.debug("canary of %r: %s; again", perch.source, verdict.complaint)
            self._begin(perch, now, is_alone=True)
            return
        wait = self._every_seconds
        perch.due = now + (wait if verdict.ok else min(wait, AGAIN_SECONDS))
        result = CanaryResult(
            perch.source,
            self._clock.utc(),
            verdict.ok,
            verdict.complaint,
            None if self.song is None else self.song.label,
            None if math.isnan(verdict.score) else verdict.score,
            now - trial.began,
        )
        others = [each for each in self.canary_results if each.source != perch.source]
        self.canary_results = (*others, result)
        logger.debug("%s", result)
        self._tell(perch, verdict)

    def _tell(self, perch: _Perch, verdict: Verdict) -> None:
        state: HealthState = "cleared" if verdict.ok else "raised"
        detail = "a known sound comes out of the analysis again"
        if not verdict.ok:
            detail = (
                f"a known sound does not come out of the analysis: {verdict.complaint}"
            )
        if not verdict.ok and not perch.is_raised:
            logger.error("source %r: %s", perch.source, detail)
        elif verdict.ok and perch.is_raised:
            logger.info("source %r: %s", perch.source, detail)
        perch.is_raised = not verdict.ok
        # Also after the first success: what was raised before a reload may be over.
        self._desk.post(HealthReport("canary", state, detail, perch.source))


def build_canary(
    config: Config,
    classifier: Classifier,
    past: AudioHistory,
    desk: HealthReports,
    clock: Clock,
) -> Canary | None:
    """Build what `config` asks for; None: nothing, or there is no live source.

    Args:
        config: The configuration.
        classifier: The very one that is in use.
        past: The sound of the sources.
        desk: Where failures are told.
        clock: Of the machine.
    """
    # A recording ends, and may be fed faster than it sounds.
    live = [
        source.name
        for source in config.sources
        if source.input.partition(":")[0] in ("mic", "command")
    ]
    if config.canary.every_seconds is None or not live:
        return None
    ears = ears_of(config, classifier)
    return Canary(config.canary, live, ears, past, desk, clock)


def ears_of(config: Config, classifier: Classifier) -> Ears:
    """What there is to try: `classifier` with the rules of `config`."""
    rules, detection = rules_of(config, classifier), config.detection

    def make_pipeline() -> Pipeline:
        return Pipeline(
            classifier,
            rules,
            hop_frames=detection.hop_frames,
            level_gate_dbfs=detection.level_gate_dbfs,
            level_offsets_db={GOLDEN: 0.0, MIXED: 0.0},
            session="canary",
        )

    return Ears(
        classifier,
        rules,
        detection.hop_frames * classifier.spec.hop_length,
        detection.level_gate_dbfs,
        make_pipeline,
    )
