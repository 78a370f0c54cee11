"""The rules by which the scores of a label become events, and their presets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches

from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.errors import ConfigError
from monitor.spec import ModelSpec


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
    # costs a hop of latency each and adds little.
    smoothing_hops=2,
    min_duration_on_seconds=0.5,
    # A drill is set down between two holes.
    min_duration_off_seconds=2.0,
    refractory_seconds=2.0,
    shortest_sound_seconds=2.0,
)

PRESETS: Mapping[str, Preset] = {"impulsive": IMPULSIVE, "lasting": LASTING}
IMPULSIVE_LABELS = frozenset({"gun_shot", "dog_bark", "car_horn"})


def resolve_rules(
    labels: Iterable[str],
    detection: DetectionSettings,
    thresholds: Mapping[str, tuple[float, float]] | None,
    spec: ModelSpec,
) -> dict[str, LabelRule]:
    """Complete the rule of each label.

    Args:
        labels: Labels of the model.
        detection: The user's settings.
        thresholds: Onset and offset threshold of each label as the model file has
            them; a label may be missing.
        spec: Input format of the model; converts seconds to samples.

    Returns:
        A rule for each label, in the order of `labels`.  A threshold is the user's,
        else the model file's, else the preset's.

    Raises:
        ConfigError: There are settings for a label that the model does not have, or
            an offset threshold lies above the onset threshold that comes with it.
    """
    known = tuple(labels)
    for label in detection.labels:
        if label not in known:
            raise ConfigError(_unknown_label(label, known))
    return {
        label: _rule(
            label,
            detection.labels.get(label, LabelSettings()),
            (thresholds or {}).get(label),
            spec,
        )
        for label in known
    }


def _unknown_label(label: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(label, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return (
        f"detection.labels: {label!r} is not a label of the model; {hint}"
        f"its labels are {', '.join(known)}"
    )


def _rule(
    label: str,
    settings: LabelSettings,
    measured: tuple[float, float] | None,
    spec: ModelSpec,
) -> LabelRule:
    kind = "impulsive" if label in IMPULSIVE_LABELS else "lasting"
    preset = PRESETS[settings.preset or kind]
    onset, offset = _thresholds(label, settings, measured, preset)
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
    settings: LabelSettings,
    measured: tuple[float, float] | None,
    preset: Preset,
) -> tuple[float, float]:
    """Onset and offset threshold of a label."""
    onset, offset = measured or (preset.onset_threshold, preset.offset_threshold)
    if settings.onset_threshold is not None:
        onset = settings.onset_threshold
        # A user who lowers the one threshold need not know of the other.
        offset = min(offset, onset)
    if settings.offset_threshold is None:
        return onset, offset
    if settings.offset_threshold > onset:
        origin = "model file" if measured else "preset"
        raise ConfigError(
            f"detection.labels.{label}.offset_threshold: {settings.offset_threshold} "
            f"must not be above the onset threshold, {onset} in the {origin}, or the "
            "label could never stay on; lower it or set onset_threshold too"
        )
    return onset, settings.offset_threshold
