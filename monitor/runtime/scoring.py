"""Scoring: from windows to score frames, with one or several models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monitor.model.engines import Array, WindowHistory, WindowPlace
from monitor.model.models import Models, Spans
from monitor.records import ScoreFrame
from monitor.runtime.windowing import Window

Span = tuple[int, int]


class _Input(NamedTuple):
    """A window as one model hears it."""

    log_mel: Array
    history: WindowHistory
    first_frame: int
    start: float
    """Its first sample, at the leading model's rate."""

    ratio: float
    """Samples at the leading model's rate for one of its own."""


class _Scores(NamedTuple):
    """Scores and spans of the labels of one model."""

    scores: tuple[float, ...]
    spans: tuple[Span, ...]
    embedding: Array | None = None
    """(features,), if it is kept."""


class Scoring:
    """Scores windows of several sources.  Used by one thread at a time."""

    def __init__(
        self,
        models: Models,
        level_gate_dbfs: float,
        *,
        keeps_embeddings: bool = False,
    ) -> None:
        """Prepare; no model runs for a window whose loudest hop lies below the gate.

        Args:
            models: The models.
            level_gate_dbfs: The level gate.
            keeps_embeddings: Frames have the embedding of `Models.embedding`.
        """
        self._models = models
        self._level_gate_dbfs = level_gate_dbfs
        self._sharing, self._resampling = models.sharing, models.resampling
        self._kept = models.embedding if keeps_embeddings else None

    def frames(self, pending: Sequence[tuple[str, Window]]) -> Iterator[ScoreFrame]:
        """Score all windows of all sources, those of equal shape as one batch."""
        windows = [window for _, window in pending]
        by_model = [
            self._scored(number, windows) for number in range(len(self._models.members))
        ]
        for index, (source, window) in enumerate(pending):
            parts = [scored[index] for scored in by_model]
            yield ScoreFrame(
                source,
                window.start,
                window.stop,
                tuple(it for part in parts for it in part.scores),
                tuple(it for part in parts for it in part.spans),
                window.level.level_dbfs,
                window.peak_level_dbfs,
                window.level.laeq_db,
                embedding=None if self._kept is None else parts[self._kept].embedding,
                hop_levels=window.level.hop,
            )

    def _scored(self, number: int, windows: Sequence[Window]) -> Mapping[int, _Scores]:
        """Scores of one model, by the index of the window."""
        member = self._models.members[number]
        count = len(member.labels)
        found: dict[int, _Scores] = {}
        inputs: dict[int, _Input] = {}
        places: dict[int, WindowPlace] = {}
        chosen: dict[int, list[int]] = {1: [], 2: []}
        for index, window in enumerate(windows):
            heard = self._input(number, window)
            if heard is None:
                found[index] = _nothing(window, count)
            elif window.peak_level_dbfs < self._level_gate_dbfs:
                # Nothing can begin in it, so the network need not run.
                found[index] = _nothing(window, count)
                heard.history.is_silent = True
            else:
                history = heard.history
                places[index] = WindowPlace(
                    history, heard.first_frame, history.is_silent
                )
                history.is_silent = False
                inputs[index] = heard
                chosen[heard.log_mel.shape[0]].append(index)
        for indices in filter(None, chosen.values()):
            batch = np.stack([inputs[index].log_mel for index in indices])
            scored = member.classify(batch, [places[index] for index in indices])
            embeddings = None
            if number == self._kept and scored.columns is not None:
                embeddings = scored.columns.mean(axis=2)
            for row, index in enumerate(indices):
                heard = inputs[index]
                found[index] = _Scores(
                    tuple(scored.scores[row].tolist()),
                    absolute(
                        scored.spans[row], heard.start, heard.ratio, windows[index]
                    ),
                    None if embeddings is None else embeddings[row].copy(),
                )
        return found

    def _input(self, number: int, window: Window) -> _Input | None:
        """What a model hears of a window; None: too much of it was lost."""
        models = self._models
        first_frame = window.start // models.spec.hop_length
        if number == models.leader:
            return _Input(window.log_mel, window.history, first_frame, window.start, 1)
        if number in self._sharing:
            history = window.sharing[self._sharing.index(number)]
            return _Input(window.log_mel, history, first_frame, window.start, 1)
        other = window.others[self._resampling.index(number)]
        if other is None:
            return None
        rate = models.members[number].classifier.spec.sample_rate
        ratio = models.spec.sample_rate / rate
        return _Input(
            other.log_mel, other.history, other.first_frame, other.start, ratio
        )


def _nothing(window: Window, labels: int) -> _Scores:
    """Scores that were not computed: zero, in no part of the window."""
    return _Scores((0.0,) * labels, ((window.start, window.start),) * labels)


def absolute(
    spans: Spans, start: float, ratio: float, window: Window
) -> tuple[Span, ...]:
    """Convert spans of samples from the start of a window, (labels, 2), to indices.

    Those of the leading model; they lie in `window`, and are never empty.
    """
    found = np.rint(start + spans * ratio).astype(np.int64)
    inside = np.clip(found, window.start, window.stop)
    inside[..., 0] = np.minimum(inside[..., 0], window.stop - 1)
    inside[..., 1] = np.maximum(inside[..., 1], inside[..., 0] + 1)
    return tuple(map(tuple, inside.tolist()))
