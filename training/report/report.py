"""The report of a run: one HTML page with pictures; and figures as tables."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.model.frontend import LogMel
from monitor.model.model_file import ModelCard
from monitor.spec import ModelSpec
from monitor.text import printable
from training.data.decoded import ClipStore
from training.data.manifest import Clip
from training.evaluate.out_of_fold import Calibration, OutOfFold, calibrated_scores
from training.losses import PreparedBatch
from training.report import pictures

Array = NDArray[np.float32]
_MISTAKES = 12
SHOWN_WINDOWS = 12
"""Training windows that are drawn."""
_PLAYER_RATE = 22_050


class Html(str):
    """Text that is HTML already; `fill` escapes all other."""

    __slots__ = ()


def fill(template: str, **values: str) -> Html:
    """Fill the fields of a template, as in `str.format`; all but `Html` is escaped."""
    return Html(
        template.format_map(
            {
                name: value if isinstance(value, Html) else html.escape(value)
                for name, value in values.items()
            }
        )
    )


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{name}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; background: #fff; }}
img {{ max-width: 100%; }} audio {{ height: 2rem; vertical-align: middle; }}
pre {{ line-height: 1.2; overflow-x: auto; white-space: pre; }}
</style><h1>{name}</h1><p style="white-space: pre-line">{licence}</p>
{figures}{images}{mistakes}</html>
"""
_IMAGE = """<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">
"""
_MISTAKE = """
<p>{name}<br><audio controls src="data:audio/ogg;base64,{data}"></audio></p>"""


@dataclass(frozen=True, slots=True)
class TestedClips:
    """Clips of the test, and their scores."""

    clips: tuple[Clip, ...]
    scores: Array
    """(clips, labels), each by a network that was not trained on the clip."""

    @property
    def truth(self) -> NDArray[np.intp]:
        """(clips,), index of each clip's label."""
        return np.array([clip.label for clip in self.clips], np.intp)


def tested_clips(
    predicted: OutOfFold, calibrations: dict[int, Calibration]
) -> TestedClips:
    """Return the clips that were tested, with calibrated scores."""
    scores = calibrated_scores(predicted.clips, calibrations)
    return TestedClips(predicted.clips.windows.clips, scores)


def write_report(
    folder: Path,
    card: ModelCard,
    spec: ModelSpec,
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    tested: TestedClips | None,
    store: ClipStore,
    prepared: PreparedBatch,
) -> Path:
    """Draw the pictures into the folder of a run, and write report.html beside them.

    Returns:
        Path of the page.
    """
    console = Console(
        record=True, file=io.StringIO(), width=100, markup=False, emoji=False
    )
    clip_table(console, card.report, card.labels)
    _print_thresholds(console, card)
    drawn = {"Learning": pictures.learning_curves(metrics)}
    if tested is not None:
        drawn |= _draw_test(tested, card, store, spec)
    titles = [
        ", ".join(card.labels[index] for index in np.flatnonzero(present)) or "no label"
        for present in prepared.present
    ]
    batch = pictures.training_batch(prepared.log_mel, titles, spec)
    drawn["Training windows with their masks"] = batch
    images = [_image(title, each, folder / "pictures") for title, each in drawn.items()]
    mistakes = Html() if tested is None else _mistakes(tested, card.labels, store, spec)
    text = fill(
        _PAGE,
        name=card.name,
        licence=card.licence,
        figures=fill("<pre>{text}</pre>", text=console.export_text()),
        images=Html("".join(images)),
        mistakes=mistakes,
    )
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8")
    return page


def _draw_test(
    tested: TestedClips, card: ModelCard, store: ClipStore, spec: ModelSpec
) -> dict[str, Figure]:
    scores, truth, labels = tested.scores, tested.truth, card.labels
    samples = store.read(tested.clips[0].path)[:1]
    (log_mel,) = LogMel(spec)(samples)
    return {
        "Confusion matrix": pictures.confusion_matrix(card.report["confusion"], labels),
        "Precision and recall": pictures.precision_recall(scores, truth, labels),
        "Reliability of the scores": pictures.reliability(scores, truth, labels),
        "A recording": pictures.waveform_and_log_mel(samples[0], log_mel, spec),
    }


def _image(title: str, figure: Figure, folder: Path) -> Html:
    path = folder / f"{title.lower().replace(' ', '-')}.png"
    pictures.save(figure, path)
    return fill(_IMAGE, title=title, data=_base64(path.read_bytes()))


def _mistakes(
    tested: TestedClips, labels: Sequence[str], store: ClipStore, spec: ModelSpec
) -> Html:
    """List the clips whose own score is furthest below the highest one."""
    truth = tested.truth
    own = tested.scores[np.arange(len(truth)), truth]
    worst = np.argsort(own - tested.scores.max(axis=1))[:_MISTAKES]
    found = ""
    for index in worst:
        chosen = int(tested.scores[index].argmax())
        clip = tested.clips[index]
        if chosen != truth[index]:
            scores = (
                f"{labels[truth[index]]} ({own[index]:.2f}) taken for "
                f"{labels[chosen]} ({tested.scores[index, chosen]:.2f})"
            )
            name = f"{printable(clip.path.name)}: {scores}"
            sound = _ogg(store.read(clip.path), spec.sample_rate)
            found += fill(_MISTAKE, name=name, data=_base64(sound))
    return Html(f"<h2>The worst mistakes</h2>{found}" if found else "")


def _ogg(samples: Array, rate: int) -> bytes:
    """Encode the first seconds of a sound for the page."""
    step = max(1, rate // _PLAYER_RATE)
    mono = samples.mean(axis=0)
    usable = len(mono) // step * step
    thinned = mono[:usable].reshape(-1, step).mean(axis=1)[: 10 * rate // step]
    thinned = thinned / max(1.0, float(np.abs(thinned).max(initial=0)))
    file = io.BytesIO()
    soundfile.write(file, thinned, rate // step, format="OGG", subtype="VORBIS")
    return file.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def clip_table(console: Console, report: dict[str, Any], labels: Sequence[str]) -> None:
    """Print the figures of clips: overall, by fold and by label."""
    if "accuracy" not in report:
        console.print("not tested: every fold was trained on")
        return
    low, high = report["accuracy_ci95"]
    console.print(
        f"accuracy {report['accuracy']:.3f} (95 %: {low:.3f} to {high:.3f}, by "
        f"recording), macro-F1 {report['macro_f1']:.3f}, calibration error "
        f"{report['expected_calibration_error']:.3f}, {report['clips']} clips"
    )
    if report.get("split") == "random":
        console.print(
            "This split is by clip: training contained other slices of nearly all of "
            "these recordings.  Expect far less on new recordings."
        )
    for fold, part in report.get("folds", {}).items():
        console.print(
            f"  fold {fold}: accuracy {part['accuracy']:.3f}, macro-F1 "
            f"{part['macro_f1']:.3f}, {part['clips']} clips"
        )
    if (accuracy := report.get("teacher_embedding_accuracy")) is not None:
        each = ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
        console.print(
            "logistic regression on the teacher's embedding, the same clips and folds: "
            + each
        )
    table = Table("label", "precision", "recall", "F1", "clips", "recordings")
    for label in labels:
        if (row := report["per_class"].get(label)) is not None:
            table.add_row(
                label,
                *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")),
                str(row["clips"]),
                str(row["groups"]),
            )
    console.print(table)
    for line in _false_alarms(report):
        console.print(line)


def _false_alarms(report: dict[str, Any]) -> Iterator[str]:
    """Describe the false alarms on negatives and ambience, and the streams."""
    for key, name in (
        ("negatives", "negatives"),
        ("negatives_never_heard", "negatives that were not trained on"),
    ):
        if (part := report.get(key)) is not None:
            yield (
                f"{name}: {100 * part['share_above_threshold']:.1f} % of "
                f"{part['clips']} clips reach a threshold, "
                f"{100 * part['share_above_0.5']:.1f} % a score of 0.5"
            )
    if (part := report.get("ambience_never_heard")) is not None:
        yield (
            f"ambience that was not trained on: {part['false_alarms']} false alarms in "
            f"{part['hours']:.1f} hours"
        )
    if (part := report.get("streams")) is not None:
        yield (
            f"streams: event-based F1 {part['event_f1']:.3f}, "
            f"{part['false_alarms_per_hour_all_labels']:.2f} false alarms an hour, in "
            f"{part['hours']:.1f} hours"
        )


def _print_thresholds(console: Console, card: ModelCard) -> None:
    if not card.thresholds:
        return
    table = Table("label", "onset threshold", "offset threshold", "false alarms a day")
    for label, found in card.thresholds.items():
        rate = 24 * (found.false_alarms_per_hour or 0)
        table.add_row(label, f"{found.onset:.3f}", f"{found.offset:.3f}", f"{rate:.2f}")
    console.print(table)


def stream_table(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures of streams: overall and by label."""
    console.print(
        f"{figures['hours']:.2f} hours, {figures['events']} events: event-based F1 "
        f"{figures['event_f1']:.3f} (precision {figures['event_precision']:.3f}, "
        f"recall {figures['event_recall']:.3f}, onsets within "
        f"{figures['collar_seconds']:.1f} s), mean over labels "
        f"{figures['event_macro_f1']:.3f}; if ends must fit too "
        f"{figures['with_offsets']['f1']:.3f}"
    )
    console.print(
        f"{figures['false_alarms']} false alarms, "
        f"{figures['false_alarms_per_hour_all_labels']:.2f} an hour; at most "
        f"{figures['false_alarms_per_hour_all_labels_at_most']:.2f} with 95 % "
        "confidence, if one does not bring the next"
    )
    for what, key in _TIMES.items():
        if (spread := figures[key])["p50"] is not None:
            console.print(
                f"{what}: median {spread['p50']:.2f} s, 95 % within "
                f"{spread['p95']:.2f} s" + _bias(spread)
            )
    table = Table(
        *("label", "F1", "precision", "recall", "events", "found", "missed"),
        *("undetected", "start error", "false alarms/h", "at most"),
    )
    for label, row in figures["per_class"].items():
        start = row["start_error_of_heard_seconds"]["mean"]
        table.add_row(
            label,
            *(f"{row[key]:.3f}" for key in ("f1", "precision", "recall")),
            *(str(row[key]) for key in ("events", "found", "missed", "unheard")),
            "-" if start is None else f"{start:+.2f} s",
            f"{figures['false_alarms_per_hour'][label]:.2f}",
            f"{figures['false_alarms_per_hour_at_most'][label]:.2f}",
        )
    console.print(table)


def profile_table(console: Console, facts: dict[str, dict[str, float]]) -> None:
    """Print the seconds of each part of a training, and their shares."""
    titles = {
        "process": "time of the training process",
        "workers": "meanwhile, time of all worker processes together",
    }
    for key, title in titles.items():
        if total := sum(facts[key].values()):
            table = Table("part", "seconds", "share", title=title, title_justify="left")
            for name, seconds in facts[key].items():
                table.add_row(name, f"{seconds:.1f}", f"{100 * seconds / total:.1f} %")
            table.add_row("total", f"{total:.1f}", "")
            console.print(table)


_TIMES = {
    "from onset to alert": "onset_latency_seconds",
    "error of the start": "start_error_seconds",
    "error of the end": "end_error_seconds",
}


def _bias(spread: dict[str, float]) -> str:
    return f", on average {spread['mean']:+.2f} s" if "mean" in spread else ""
