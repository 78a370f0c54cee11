"""The rules by which the scores of a label become events, and their presets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Protocol

from monitor.config.detection import (
    DEFAULT_SENSITIVITY,
    DetectionSettings,
    LabelSettings,
)
from monitor.errors import ConfigError
from monitor.spec import ModelSpec


class ModelThresholds(Protocol):
    """The thresholds of a label in a model file: `monitor.model.thresholds`."""

    @property
    def onset(self) -> float:
        """Onset threshold."""

    @property
    def offset(self) -> float:
        """Offset threshold."""

    def onset_at(self, sensitivity: float) -> float | None:
        """Onset threshold at a sensitivity in [0, 1]; None: there is no curve."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """The settings by which one label's scores become events.  Durations in samples."""

    onset_threshold: float
    """Averaged score at or above which the label may begin."""

    offset_threshold: float
    """Score below which a window does not count; at most the onset threshold."""

    smoothing_hops: int
    """Number of hops over which scores are averaged."""

    min_duration_on: int
    """Shortest event that is reported."""

    min_duration_off: int
    """Shortest lull that ends an event."""

    refractory: int
    """Time after the end of an event in which the label does not begin."""

    margin: float
    """The lead that the averaged score must have over every other label's for the label
    to begin; 0: other labels do not matter, for the sounds of a city overlap."""

    shortest_sound: int
    """Length of the shortest sounds that the rule is meant for; used by `check`."""

    def __post_init__(self) -> None:
        assert 0 < self.offset_threshold <= self.onset_threshold <= 1
        assert self.smoothing_hops >= 1
        assert 0 <= self.margin < 1
        assert min(self.min_duration_on, self.min_duration_off, self.refractory) >= 0


@dataclass(frozen=True, slots=True)
class Preset:
    """Defaults for one kind of sound."""

    onset_threshold: float
    offset_threshold: float
    smoothing_hops: int
    min_duration_on_seconds: float
    min_duration_off_seconds: float
    refractory_seconds: float
    shortest_sound_seconds: float


IMPULSIVE = Preset(
    # One window decides alone, so it must be surer than several together.
    onset_threshold=0.7,
    offset_threshold=0.4,
    smoothing_hops=1,
    min_duration_on_seconds=0.0,
    # The barks of one dog are one event, shots three seconds apart are two.
    min_duration_off_seconds=1.0,
    refractory_seconds=1.0,
    shortest_sound_seconds=0.3,
)

LASTING = Preset(
    onset_threshold=0.6,
    offset_threshold=0.4,
    # Neighbouring windows share 86 % of their samples: averaging over more of them
    # costs a hop of latency each and detects no more.
    smoothing_hops=1,
    min_duration_on_seconds=0.5,
    # A drill is set down between two holes.
    min_duration_off_seconds=2.0,
    refractory_seconds=2.0,
    shortest_sound_seconds=2.0,
)

PRESETS: Mapping[str, Preset] = {"impulsive": IMPULSIVE, "lasting": LASTING}
IMPULSIVE_LABELS = frozenset({"gun_shot", "dog_bark", "car_horn"})


_WITHOUT_CURVE = (
    "set onset_threshold for such a label, or take a model file that has its curve: "
    "'train --places' measures curves, and 'calibrate' leaves out those that its "
    "thresholds lie beyond"
)


def resolve_rules(
    labels: Iterable[str],
    detection: DetectionSettings,
    thresholds: Mapping[str, ModelThresholds] | None,
    spec: ModelSpec,
    presets: Mapping[str, str] | None = None,
    others: Iterable[str] = (),
) -> dict[str, LabelRule]:
    """Complete the rule of each label.

    Args:
        labels: Labels of the model.
        detection: The user's settings.
        thresholds: Those of each label as the model file has them; a label may be
            missing.
        spec: Input format of the model; converts seconds to samples.
        presets: The preset of each label as the model file has it; a label may be
            missing.
        others: Labels that have settings without being in use.

    Returns:
        A rule for each label, in the order of `labels`.  A threshold is the user's,
        else the model file's at the sensitivity, else the preset's.

    Raises:
        ConfigError: There are settings for a label that the model does not have, an
            offset threshold lies above the onset threshold that comes with it, or the
            model has no curve for a sensitivity other than 0.5.
    """
    known = tuple(labels)
    silent = frozenset(others)
    for label in detection.labels:
        if label not in known and label not in silent:
            raise ConfigError(_unknown_label(label, known))
    require_curves(known, detection, thresholds or {})
    return {
        label: _rule(
            label,
            detection,
            (thresholds or {}).get(label),
            spec,
            (presets or {}).get(label),
        )
        for label in known
    }


def require_curves(
    labels: Iterable[str],
    detection: DetectionSettings,
    thresholds: Mapping[str, ModelThresholds],
) -> None:
    """Check that `detection.sensitivity` can move the thresholds that follow it.

    Raises:
        ConfigError: The model has no curve of one of these labels.
    """
    if detection.sensitivity == DEFAULT_SENSITIVITY:
        return
    lacking = []
    for label in labels:
        own = detection.labels.get(label, LabelSettings())
        is_own = own.sensitivity is not None or own.onset_threshold is not None
        if not is_own and _moved(thresholds.get(label), detection.sensitivity) is None:
            lacking.append(label)
    if lacking:
        more = f" and {len(lacking) - 1} more" if lacking[1:] else ""
        raise ConfigError(
            f"detection.sensitivity: {detection.sensitivity} needs a curve of each "
            f"label, and the model file has none of {lacking[0]}{more}; "
            f"{_WITHOUT_CURVE}"
        )


def _moved(thresholds: ModelThresholds | None, sensitivity: float) -> float | None:
    """Onset threshold at a sensitivity; None: there is no curve."""
    return None if thresholds is None else thresholds.onset_at(sensitivity)


def _unknown_label(label: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(label, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return (
        f"detection.labels: {label!r} is not a label of the model; {hint}"
        f"its labels are {', '.join(known)}"
    )


def _rule(
    label: str,
    detection: DetectionSettings,
    measured: ModelThresholds | None,
    spec: ModelSpec,
    kind: str | None,
) -> LabelRule:
    settings = detection.labels.get(label, LabelSettings())
    kind = kind or ("impulsive" if label in IMPULSIVE_LABELS else "lasting")
    preset = PRESETS[settings.preset or kind]
    onset, offset = _thresholds(label, detection, measured, preset)
    names = {each.name for each in fields(Preset)}
    chosen = replace(preset, **settings.model_dump(include=names, exclude_none=True))
    return LabelRule(
        onset_threshold=onset,
        offset_threshold=offset,
        smoothing_hops=chosen.smoothing_hops,
        min_duration_on=spec.samples(chosen.min_duration_on_seconds),
        min_duration_off=spec.samples(chosen.min_duration_off_seconds),
        refractory=spec.samples(chosen.refractory_seconds),
        margin=settings.margin or 0.0,
        shortest_sound=spec.samples(chosen.shortest_sound_seconds),
    )


def _thresholds(
    label: str,
    detection: DetectionSettings,
    measured: ModelThresholds | None,
    preset: Preset,
) -> tuple[float, float]:
    """Onset and offset threshold of a label."""
    settings = detection.labels.get(label, LabelSettings())
    onset, offset, origin = preset.onset_threshold, preset.offset_threshold, "preset"
    if measured is not None:
        onset, offset, origin = measured.onset, measured.offset, "model file"
    sensitivity = detection.sensitivity_of(label)
    if settings.onset_threshold is not None:
        onset = settings.onset_threshold
        # A user who lowers the one threshold need not know of the other.
        offset = min(offset, onset)
    elif sensitivity != DEFAULT_SENSITIVITY:
        moved = _moved(measured, sensitivity)
        if moved is None:
            raise ConfigError(
                f"detection.labels.{label}.sensitivity: {sensitivity} needs a curve "
                f"of the label, and the model file has none; {_WITHOUT_CURVE}"
            )
        onset, offset = moved, moved * (offset / onset)
        origin = f"model file at sensitivity {sensitivity}"
    if settings.offset_threshold is None:
        return onset, offset
    if settings.offset_threshold > onset:
        raise ConfigError(
            f"detection.labels.{label}.offset_threshold: {settings.offset_threshold} "
            f"must not be above the onset threshold, {onset:.4g} in the {origin}, or "
            "the label could never stay on; lower it or set onset_threshold too"
        )
    return onset, settings.offset_threshold
