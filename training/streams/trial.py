"""A trained model in the monitor's place: on streams that nobody has heard."""

from collections.abc import Callable, Sequence
from typing import Any

from monitor.config.config import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import TrainedModel
from training.clips.manifest import Clip
from training.mixing.material import Material
from training.streams.scenes import Scene, SceneMaker, SceneSettings, in_foreground
from training.streams.streams import Reference, StreamResult, listen, stream_figures

_PARTS = ("event_f1", "hours", "false_alarms_per_hour_all_labels")


def try_on_streams(
    model: TrainedModel,
    material: Material,
    clips: Sequence[Clip],
    negatives: Sequence[Clip],
    hours: float,
    advance: Callable[[int, int], None],
) -> list[StreamResult]:
    """Let the monitor listen to streams made of clips over negatives.

    Args:
        model: With thresholds; its card names the labels as the material does.
        material: Where the samples are.
        clips: What sounds; none for pure ambience.
        negatives: What is heard under it.
        hours: How long.
        advance: Told how many of how many are done.
    """
    classifier = Classifier(model, "cpu")
    settings = SceneSettings(hours=hours)
    if not clips:
        settings = SceneSettings(hours=hours, events_per_minute=0.0)
    maker = SceneMaker(
        in_foreground(clips),
        material.store,
        negatives,
        material.negatives_store,
        classifier.labels,
        model.spec.sample_rate,
        settings,
    )
    stride = classifier.total_stride
    detection = DetectionSettings()
    if detection.hop_frames % stride:
        detection = DetectionSettings(hop_frames=stride)
    results = []
    for number, scene in enumerate(maker.scenes(), start=1):
        seconds, found = listen(iter([scene.samples]), classifier, detection)
        rate = model.spec.sample_rate
        results.append(StreamResult(seconds, _references(scene, rate), found))
        advance(number, maker.count)
    return results


def _references(scene: Scene, rate: int) -> tuple[Reference, ...]:
    return tuple(
        Reference(event.start / rate, event.stop / rate, event.label)
        for event in scene.annotations
    )


def trial_figures(
    by_fold: dict[int, list[StreamResult]], labels: Sequence[str]
) -> dict[str, Any]:
    """Figures over the streams of all folds, and the main ones of each."""
    pooled = [result for results in by_fold.values() for result in results]
    figures = stream_figures(pooled, labels)
    figures["folds"] = {}
    for fold, results in by_fold.items():
        own = stream_figures(results, labels)
        figures["folds"][str(fold)] = {key: own[key] for key in _PARTS}
    return figures


def ambience_figures(
    results: Sequence[StreamResult], labels: Sequence[str]
) -> dict[str, Any]:
    """False alarms on streams without any label."""
    figures = stream_figures(results, labels)
    alarms = sum(len(result.found) for result in results)
    return {
        "hours": figures["hours"],
        "false_alarms": alarms,
        "false_alarms_per_hour": alarms / figures["hours"],
        "per_label": {
            label: rate
            for label, rate in figures["false_alarms_per_hour"].items()
            if rate > 0
        },
    }
