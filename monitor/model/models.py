"""The models that listen to the same windows, and the labels that they score."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.model.card import TAUGHT_MODEL
from monitor.model.catalogue import (
    ScoredLabels,
    all_classes,
    presets_of,
    thresholds_of,
)
from monitor.model.classifier import Classifier, active_spans, span_samples
from monitor.model.engines import Array, WindowPlace
from monitor.model.taught import TaughtLabel
from monitor.model.thresholds import Thresholds

Spans = NDArray[np.int64]

_MOST_SCORE = np.float32(1 - 1e-6)
"""Its odds are still exact in single precision."""


class ModelScores(NamedTuple):
    """What one model says of a batch of windows."""

    scores: Array
    """(batch, labels), in [0, 1]."""

    spans: Spans
    """int64, (batch, labels, 2): for each label the part of the window with it, in
    samples from its start."""

    columns: Array | None
    """See `Classification`."""


class ScoringModel:
    """A classifier with the labels that are made of its classes."""

    def __init__(
        self,
        classifier: Classifier,
        scored: ScoredLabels,
        taught: Sequence[TaughtLabel] = (),
    ) -> None:
        """Prepare to score `scored`; `taught` are those that were taught, in order."""
        self.classifier = classifier
        self.labels = scored.labels
        self.taught = taught
        self._first = [classes[0] for classes in scored.classes]
        self._is_plain = self._first == list(range(len(classifier.labels)))
        self._joined = {
            index: list(classes)
            for index, classes in enumerate(scored.classes)
            if len(classes) > 1
        }

    def classify(self, windows: Array, places: Sequence[WindowPlace]) -> ModelScores:
        """Score a batch of windows; see `Classifier.classify`."""
        scores, activity, columns = self.classifier.classify(windows, places)
        if not self._is_plain or self._joined:
            scores, activity = self._of_labels(scores), self._of_labels(activity)
        if self.taught:
            assert columns is not None, "labels are taught on columns"
            own = [each.scores(columns) for each in self.taught]
            active = [each.activity(columns) for each in self.taught]
            scores = np.concatenate([scores, np.stack(own, axis=1)], axis=1)
            activity = np.concatenate([activity, np.stack(active, axis=1)], axis=1)
        spec = self.classifier.spec
        spans = span_samples(
            active_spans(activity),
            self.classifier.total_stride,
            spec.hop_length,
            spec.n_fft,
        )
        return ModelScores(scores, spans, columns)

    def _of_labels(self, of_classes: Array) -> Array:
        """(batch, classes, ...) to (batch, labels, ...)."""
        found: Array = of_classes[:, self._first]
        for index, classes in self._joined.items():
            each = np.minimum(of_classes[:, classes], _MOST_SCORE)
            odds = (each / (1 - each)).sum(axis=1)
            found[:, index] = odds / (1 + odds)
        return found


class Models:
    """One or several models.  Used by one thread at a time.

    Their scores stand side by side, as if one model had all labels.  Windows and hops
    are those of the leading model, which has the highest sample rate; the others hear
    the same sound, resampled.
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        scored: Sequence[ScoredLabels] | None = None,
        taught: Mapping[str, TaughtLabel] | None = None,
    ) -> None:
        """Let each classifier score some labels.

        Args:
            classifiers: The models.
            scored: Labels of each; None: all of its classes.
            taught: Those among them that were taught.
        """
        chosen = scored or [all_classes(each.labels) for each in classifiers]
        heads = taught or {}
        self.members = tuple(
            ScoringModel(classifier, own, [heads[label] for label in own.taught])
            for classifier, own in zip(classifiers, chosen, strict=True)
        )
        self.leader = max(
            range(len(classifiers)),
            key=lambda index: classifiers[index].spec.precedence,
        )
        """Index of the leading model."""

        leading = classifiers[self.leader]
        self.spec = leading.spec
        self.network_digest = leading.network_digest
        self.hop_frames_step = leading.hop_frames_step
        self.labels = tuple(it for each in self.members for it in each.labels)
        self.name = "+".join(each.name for each in classifiers)
        self.names: Mapping[str, str] = {
            label: member.classifier.name
            for member in self.members
            for label in member.labels
        }
        """By label, the model that scores it."""

        cards = {label: each.card for label, each in heads.items()}
        self.rivals: Mapping[str, Sequence[str]] = {
            label: rivals for own in chosen for label, rivals in own.rivals().items()
        }
        """By label, the others of its model that it has no class in common with."""

        self.thresholds: Mapping[str, Thresholds] = thresholds_of(
            classifiers, chosen, cards
        )
        self.presets: Mapping[str, str] = presets_of(classifiers, chosen, cards)
        """By label, the detection preset of its catalogue."""

    @property
    def embedding(self) -> int:
        """Index of the model whose embedding is kept, for labels to be taught on.

        That of `TAUGHT_MODEL`, if it listens, else the last one.
        """
        names = [each.classifier.name for each in self.members]
        return names.index(TAUGHT_MODEL) if TAUGHT_MODEL in names else len(names) - 1

    @property
    def sharing(self) -> tuple[int, ...]:
        """Indices of the models but the leading one that take the same windows."""
        return tuple(index for index in self._others if self._shares(index))

    @property
    def resampling(self) -> tuple[int, ...]:
        """Indices of the models that take windows of their own."""
        return tuple(index for index in self._others if not self._shares(index))

    @property
    def _others(self) -> list[int]:
        return [index for index in range(len(self.members)) if index != self.leader]

    def _shares(self, index: int) -> bool:
        return self.members[index].classifier.spec.has_windows_of(self.spec)

    @property
    def compute_device(self) -> str:
        """That of the leading model."""
        return self.members[self.leader].classifier.compute_device

    @property
    def failed_compute_device(self) -> str | None:
        """The GPU that failed, if the CPU has taken over from it for any model."""
        failed = (each.classifier.failed_compute_device for each in self.members)
        return next((each for each in failed if each is not None), None)


def as_models(models: Models | Classifier) -> Models:
    """One classifier as models, with all of its classes."""
    return models if isinstance(models, Models) else Models([models])
