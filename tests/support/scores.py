"""Score frames of sounds whose true places are known, as a network would give them.

The network of these tests scores a sound the higher the more of it lies in the window,
and places it to the column.  Of several sounds of a label in one window its span is
that of the one with the most evidence, or of the earliest, or reaches over all.  With a
generator it also errs: in its scores, in its spans, and on labels that do not sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.records import ScoreFrame
from monitor.spec import ModelSpec

SPEC = ModelSpec()
WINDOW = SPEC.window_samples
HOP = 48 * SPEC.hop_length
COLUMN = 16 * SPEC.hop_length

BACKGROUND_DBFS = -50.0
SOUND_DBFS = -20.0


@dataclass(frozen=True, slots=True)
class Sound:
    """A label sounds in [start, stop)."""

    label: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class SimulatedNetwork:
    """A network and a microphone, ideal unless there is a generator."""

    labels: tuple[str, ...]
    needs: int = SPEC.samples(0.4)
    """Samples of a lasting sound that a window must hold to be sure of it."""

    generator: np.random.Generator | None = None
    jitter_columns: int = 2
    """By how many columns a span errs at most, at either end."""

    score_deviation: float = 0.06

    spans_all: bool = False
    """A span reaches over all sounds of the label, not just the most evident one."""

    def frames(
        self, sounds: Sequence[Sound], samples: int, first: int = 0
    ) -> list[ScoreFrame]:
        """The frames of `samples` samples from window `first` on."""
        count = (samples - WINDOW) // HOP + 1
        return [self.frame(sounds, k * HOP) for k in range(first, first + count)]

    def frame(self, sounds: Sequence[Sound], start: int) -> ScoreFrame:
        """The frame of the window that starts at `start`."""
        stop = start + WINDOW
        found = [self._score_and_span(label, sounds, start) for label in self.labels]
        return ScoreFrame(
            "street",
            start,
            stop,
            tuple(score for score, _ in found),
            tuple(span for _, span in found),
            _level(sounds, stop - HOP, stop),
            _level(sounds, start, stop),
            _level(sounds, stop - HOP, stop) + 90,
        )

    def _score_and_span(
        self, label: str, sounds: Sequence[Sound], start: int
    ) -> tuple[float, tuple[int, int]]:
        stop = start + WINDOW
        parts = [
            (max(sound.start, start), min(sound.stop, stop), sound)
            for sound in sounds
            if sound.label == label and sound.start < stop and sound.stop > start
        ]
        if not parts:
            return self._score(0.0), self._anywhere(start)
        evidence = [
            min(1.0, (last - first) / min(sound.stop - sound.start, self.needs))
            for first, last, sound in parts
        ]
        if not self.spans_all:
            parts = [parts[evidence.index(max(evidence))]]
        first = (min(part[0] for part in parts) - start) // COLUMN
        last = -(-(max(part[1] for part in parts) - start) // COLUMN)
        return self._score(max(evidence)), self._span(start, first, last)

    def _score(self, evidence: float) -> float:
        score = 0.02 + 0.95 * evidence
        if self.generator is not None:
            score += self.generator.normal(0.0, self.score_deviation)
        return float(np.clip(score, 0.0, 1.0))

    def _span(self, start: int, first: int, last: int) -> tuple[int, int]:
        columns = -(-WINDOW // COLUMN)
        if self.generator is not None:
            jitter = self.jitter_columns
            first += int(self.generator.integers(-jitter, jitter + 1))
            last += int(self.generator.integers(-jitter, jitter + 1))
        first = min(max(first, 0), columns - 1)
        last = min(max(last, first + 1), columns)
        return start + first * COLUMN, min(start + last * COLUMN, start + WINDOW)

    def _anywhere(self, start: int) -> tuple[int, int]:
        """The span of a label that does not sound means nothing."""
        if self.generator is None:
            return self._span(start, 0, -(-WINDOW // COLUMN))
        first, last = sorted(self.generator.integers(0, WINDOW // COLUMN, 2).tolist())
        return self._span(start, first, last + 1)


def _level(sounds: Sequence[Sound], start: int, stop: int) -> float:
    loud = any(sound.start < stop and sound.stop > start for sound in sounds)
    return SOUND_DBFS if loud else BACKGROUND_DBFS


def drawn(*rows: str, gate: str = "", hop: int = 1) -> list[ScoreFrame]:
    """Frames drawn in a row for each label, of windows that do not overlap.

    A window is one hop long and active throughout.  Its score is 0.9 for `#`, 0.5 for
    `+` and 0.1 for `.`; a digit stands for as many tenths.  Where `gate` has a `_` the
    window is silent.
    """
    levels = {"#": 0.9, "+": 0.5, ".": 0.1}
    frames = []
    for k, column in enumerate(zip(*rows, strict=True)):
        scores = tuple(levels.get(mark) or int(mark) / 10 for mark in column)
        span = (k * hop, (k + 1) * hop)
        dbfs = -120.0 if gate[k : k + 1] == "_" else SOUND_DBFS
        spans = (span,) * len(rows)
        frames.append(ScoreFrame("street", *span, scores, spans, dbfs, dbfs, dbfs + 90))
    return frames
