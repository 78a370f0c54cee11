"""Testing the whole monitor on streams: what it tells while it listens.

A trained model in the monitor's place: on streams that nobody has heard.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from monitor.audio.conditioning import StreamResampler, adapt
from monitor.audio.timeline import Block
from monitor.config.detection import DetectionSettings
from monitor.detection.rules import resolve_rules
from monitor.errors import DatasetError
from monitor.model.classifier import Classifier
from monitor.model.model_file import TrainedModel
from monitor.records import Event, Onset, Record, ScoreFrame
from monitor.runtime.pipeline import Pipeline
from training.data.manifest import Clip
from training.mixtures.material import Material
from training.streams.metrics import Found, Reference, StreamResult, stream_figures
from training.streams.scenes import Scene, SceneMaker, SceneSettings, in_foreground

logger = logging.getLogger(__name__)


__all__ = [
    "Found",
    "Reference",
    "StreamResult",
    "file_blocks",
    "find_streams",
    "found_events",
    "listen",
    "listen_to_files",
    "read_annotation",
    "records_of",
    "stream_figures",
]


_BLOCK = 1 << 20


def find_streams(folder: Path) -> list[tuple[Path, Path]]:
    """The pairs NAME.wav and NAME.tsv of a folder.

    Raises:
        DatasetError: There is none, or a recording has no annotation.
    """
    pairs = []
    for audio in sorted(folder.glob("*.wav")):
        table = audio.with_suffix(".tsv")
        if not table.is_file():
            raise DatasetError(f"{audio}: its annotation {table.name} is missing")
        pairs.append((audio, table))
    if not pairs:
        raise DatasetError(f"{folder}: there is no pair of NAME.wav and NAME.tsv")
    return pairs


def read_annotation(path: Path) -> tuple[Reference, ...]:
    """Read onset, offset and event_label, tab-separated seconds.

    Raises:
        DatasetError: A column is missing, a number is none, or an event ends before it
            begins.
    """
    try:
        table = pd.read_csv(path, sep="\t")
        rows = zip(
            table["onset"].astype(float),
            table["offset"].astype(float),
            table["event_label"].astype(str),
            strict=True,
        )
        events = tuple(Reference(*row) for row in rows)
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"{path}: must have the columns onset, offset and event_label, tabs "
            f"between them and seconds in them ({error})"
        ) from None
    for event in events:
        if not 0 <= event.onset <= event.offset < math.inf:
            raise DatasetError(
                f"{path}: an event from {event.onset:g} to {event.offset:g} s is none"
            )
    return events


def listen(
    blocks: Iterator[np.ndarray[Any, Any]],
    classifier: Classifier,
    detection: DetectionSettings,
) -> tuple[float, tuple[Found, ...]]:
    """Run the monitor's own pipeline over samples at the model's rate.

    Args:
        blocks: (1 or 2, n) each.
        classifier: The network.
        detection: How scores become events.

    Returns:
        Seconds listened to, and the events told.
    """
    rate = classifier.spec.sample_rate
    samples = 0

    def counted() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal samples
        for block in blocks:
            samples += block.shape[1]
            yield block

    records = records_of(counted(), classifier, detection)
    # Hours of score frames would fill the memory.
    told = [record for record in records if not isinstance(record, ScoreFrame)]
    return samples / rate, found_events(told, rate)


def records_of(
    blocks: Iterator[np.ndarray[Any, Any]],
    classifier: Classifier,
    detection: DetectionSettings,
) -> Iterator[Record]:
    """All that the pipeline makes of samples, score frames too; see `listen`."""
    rules = resolve_rules(
        classifier.labels, detection, classifier.thresholds, classifier.spec
    )
    pipeline = Pipeline(
        classifier,
        rules,
        hop_frames=detection.hop_frames,
        level_gate_dbfs=detection.level_gate_dbfs,
        level_offsets_db={"stream": 0.0},
        session="evaluation",
    )
    start = 0
    for block in blocks:
        samples = np.ascontiguousarray(block, np.float32)
        yield from pipeline.process([("stream", Block(start, samples))])
        start += samples.shape[1]
    yield from pipeline.finish("stream", "end-of-input")


def found_events(records: Iterable[Record], rate: int) -> tuple[Found, ...]:
    """The events among records, each with the moment at which it was first told."""
    told: dict[str, int] = {}
    found = []
    for record in records:
        if isinstance(record, Onset):
            told[record.id] = record.stop
        elif isinstance(record, Event):
            stop = told.get(record.id, record.stop)
            found.append(
                Found(
                    record.start / rate, record.stop / rate, record.label, stop / rate
                )
            )
    return tuple(found)


def file_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray[Any, Any]]:
    """A recording at `sample_rate`, block by block, (1 or 2, n).

    Raises:
        DatasetError: It cannot be read to its end.
    """
    try:
        with soundfile.SoundFile(path) as file:
            channels = min(file.channels, 2)
            resampler = StreamResampler(file.samplerate, sample_rate, channels)
            for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
                yield resampler.push(adapt(np.ascontiguousarray(block.T)))
            yield resampler.finish()
    except soundfile.LibsndfileError as error:
        raise DatasetError(f"{path}: cannot be read ({error.error_string})") from None


def listen_to_files(
    folder: Path,
    classifier: Classifier,
    detection: DetectionSettings,
    advance: Callable[[int, int], None],
) -> list[StreamResult]:
    """Run the pipeline over all streams of a folder.

    Args:
        folder: Pairs of NAME.wav and NAME.tsv.
        classifier: The network.
        detection: How scores become events.
        advance: Told how many seconds of how many have been listened to.

    Raises:
        DatasetError: There is none, or a file is not what it should be.
    """
    pairs = find_streams(folder)
    annotations = [read_annotation(table) for _, table in pairs]
    _tell_strange_labels(annotations, classifier.labels)
    rate = classifier.spec.sample_rate
    total = sum(_seconds(audio) for audio, _ in pairs)
    heard = 0.0

    def told(blocks: Iterator[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
        nonlocal heard
        for block in blocks:
            yield block
            heard += block.shape[1] / rate
            advance(round(heard), max(round(total), 1))

    results = []
    for (audio, _), references in zip(pairs, annotations, strict=True):
        blocks = told(file_blocks(audio, rate))
        seconds, found = listen(blocks, classifier, detection)
        results.append(StreamResult(seconds, references, found))
        logger.info(
            "%s: %.0f s, %d events in it, %d told",
            audio.name,
            seconds,
            len(references),
            len(found),
        )
    return results


def _seconds(path: Path) -> float:
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError as error:
        raise DatasetError(f"{path}: cannot be read ({error.error_string})") from None


def _tell_strange_labels(
    annotations: Sequence[Sequence[Reference]], labels: Sequence[str]
) -> None:
    strange = [
        event.label
        for events in annotations
        for event in events
        if event.label not in labels
    ]
    for label in sorted(set(strange)):
        logger.warning(
            "the model has no label '%s': its %d events are left out",
            label,
            strange.count(label),
        )


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
