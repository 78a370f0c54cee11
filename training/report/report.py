"""The report of a run: one HTML page with pictures; and figures as tables."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.model.frontend import LogMel
from monitor.model.model_file import ModelCard
from monitor.spec import ModelSpec
from training.data.decoded import ClipStore
from training.data.manifest import Clip
from training.evaluate.out_of_fold import Calibration, OutOfFold, calibrated_scores
from training.losses import PreparedBatch
from training.mixtures.dataset import to_log_mel
from training.report import pictures

Array = NDArray[np.float32]
_MISTAKES = 12
_NEGATIVES = {
    "negatives": "negatives",
    "negatives_never_heard": "negatives that were not trained on",
}
SHOWN_WINDOWS = 12
"""Training windows that are drawn."""
_PLAYER_RATE = 22_050

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } audio { height: 2rem; vertical-align: middle; }
"""


@dataclass(frozen=True, slots=True)
class TestedClips:
    """Clips of the test, and their scores."""

    clips: tuple[Clip, ...]
    scores: Array
    """(clips, labels), each by a network that was not trained on the clip."""


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
    """Draw the pictures into `folder` and write report.html beside them.

    Args:
        folder: Of the run.
        card: Of the model.
        spec: Of the model.
        metrics: The lines of metrics.jsonl of each network.
        tested: The clips of the figures; None: nothing was tested.
        store: Samples of the clips.
        prepared: A training batch as the network gets it.

    Returns:
        Path of the page.
    """
    drawn: list[tuple[str, Path]] = []

    def draw(title: str, name: str, figure: Any) -> None:
        drawn.append((title, pictures.save(figure, folder / "pictures" / name)))

    labels = card.labels
    draw("Learning", "learning.png", pictures.learning_curves(metrics))
    if tested is not None:
        truth = np.array([clip.label for clip in tested.clips], np.intp)
        confusion = pictures.confusion_matrix(card.report["confusion"], labels)
        draw("Confusion matrix", "confusion.png", confusion)
        curves = pictures.precision_recall(tested.scores, truth, labels)
        draw("Precision and recall", "precision-recall.png", curves)
        curves = pictures.reliability(tested.scores, truth, labels)
        draw("Reliability of the scores", "reliability.png", curves)
        draw("A recording", "recording.png", _recording(tested.clips[0], store, spec))
    titles = [
        ", ".join(labels[index] for index in np.flatnonzero(present)) or "no label"
        for present in prepared.present
    ]
    batch = pictures.training_batch(prepared.log_mel, titles, spec)
    draw("Training windows with their masks", "batch.png", batch)
    mistakes = "" if tested is None else _mistakes(tested, labels, store, spec)
    page = folder / "report.html"
    page.write_text(_page(card, drawn, mistakes), encoding="utf-8")
    return page


def _recording(clip: Clip, store: ClipStore, spec: ModelSpec) -> Any:
    samples = store.read(clip.path)[:1]
    log_mel = to_log_mel(LogMel(spec), samples)[0]
    return pictures.waveform_and_log_mel(samples[0], log_mel, spec)


def _page(card: ModelCard, drawn: Sequence[tuple[str, Path]], mistakes: str) -> str:
    licence = html.escape(card.licence).replace("\n", "<br>")
    images = "".join(
        f"<h2>{html.escape(title)}</h2>"
        f'<img alt="{html.escape(title)}" src="data:image/png;base64,'
        f'{base64.b64encode(path.read_bytes()).decode()}">'
        for title, path in drawn
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(card.name)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(card.name)}</h1><p>{licence}</p>"
        f"{_figures(card)}{images}{mistakes}</html>\n"
    )


def _figures(card: ModelCard) -> str:
    report = card.report
    if "accuracy" not in report:
        return "<p>Not tested: every fold was trained on.</p>"
    low, high = report["accuracy_ci95"]
    warning = ""
    if report.get("split") == "random":
        warning = (
            "<p>The folds were made clip by clip: training contained other slices of "
            "nearly all recordings of the test.  Expect far less on new ones.</p>"
        )
    rows = [
        [
            label,
            *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")),
            str(row["clips"]),
            str(row["groups"]),
        ]
        for label, row in report["per_class"].items()
    ]
    return (
        f"<p>Accuracy {report['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, "
        f"by recording), macro-F1 {report['macro_f1']:.3f}, calibration error "
        f"{report['expected_calibration_error']:.3f}, {report['clips']} clips, tested "
        f"{html.escape(str(report.get('tested', '')))}.</p>{warning}"
        + _table(["label", "precision", "recall", "F1", "clips", "recordings"], rows)
        + _alarms(card)
    )


def _alarms(card: ModelCard) -> str:
    """False alarms on negatives and ambience, figures of streams, and thresholds."""
    report, text = card.report, ""
    for key, name in _NEGATIVES.items():
        if (part := report.get(key)) is not None:
            share = 100 * part["share_above_threshold"]
            text += (
                f"<p>Of {part['clips']} recordings of no label "
                f"({name}) {share:.1f} % reach a threshold.</p>"
            )
    if (part := report.get("ambience_never_heard")) is not None:
        text += (
            f"<p>{part['false_alarms']} false alarms in {part['hours']:.1f} hours of "
            "ambience that was not trained on.</p>"
        )
    if (part := report.get("streams")) is not None:
        text += (
            f"<p>In {part['hours']:.1f} hours of streams: event-based F1 "
            f"{part['event_f1']:.3f}, {part['false_alarms_per_hour_all_labels']:.2f} "
            "false alarms an hour.</p>"
        )
    rows = [
        [
            label,
            f"{found.onset:.3f}",
            f"{found.offset:.3f}",
            f"{24 * (found.false_alarms_per_hour or 0):.2f}",
        ]
        for label, found in card.thresholds.items()
    ]
    if not rows:
        return text
    heads = ["label", "onset", "offset", "false alarms a day"]
    return f"{text}<h2>Thresholds</h2>{_table(heads, rows)}"


def _mistakes(
    tested: TestedClips, labels: Sequence[str], store: ClipStore, spec: ModelSpec
) -> str:
    """List the clips whose own score is furthest below the highest one."""
    truth = np.array([clip.label for clip in tested.clips], np.intp)
    own = tested.scores[np.arange(len(truth)), truth]
    worst = np.argsort(own - tested.scores.max(axis=1))[:_MISTAKES]
    rows = []
    for index in worst:
        chosen = int(tested.scores[index].argmax())
        clip = tested.clips[index]
        if chosen != truth[index]:
            rows.append(
                [
                    clip.path.name,
                    f"{labels[truth[index]]} ({own[index]:.2f})",
                    f"{labels[chosen]} ({tested.scores[index, chosen]:.2f})",
                    _player(store.read(clip.path), spec.sample_rate),
                ]
            )
    if not rows:
        return ""
    table = _table(["file", "true", "predicted", "listen"], rows, escaped=False)
    return f"<h2>The worst mistakes</h2>{table}"


def _player(samples: Array, rate: int) -> str:
    """Embed the sound in the page."""
    step = max(1, rate // _PLAYER_RATE)
    mono = samples.mean(axis=0)
    usable = len(mono) // step * step
    thinned = mono[:usable].reshape(-1, step).mean(axis=1)[: 10 * rate // step]
    thinned = thinned / max(1.0, float(np.abs(thinned).max(initial=0)))
    file = io.BytesIO()
    soundfile.write(file, thinned, rate // step, format="OGG", subtype="VORBIS")
    encoded = base64.b64encode(file.getvalue()).decode()
    return f'<audio controls src="data:audio/ogg;base64,{encoded}"></audio>'


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], escaped: bool = True
) -> str:
    def cell(text: str, kind: str) -> str:
        safe = html.escape(text) if escaped or not text.startswith("<") else text
        return f"<{kind}>{safe}</{kind}>"

    top = "".join(cell(head, "th") for head in heads)
    body = "".join(
        f"<tr>{''.join(cell(value, 'td') for value in row)}</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


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
    for key, name in _NEGATIVES.items():
        if (negatives := report.get(key)) is not None:
            console.print(
                f"{name}: "
                f"{100 * negatives['share_above_threshold']:.1f} % of "
                f"{negatives['clips']} clips reach a threshold, "
                f"{100 * negatives['share_above_0.5']:.1f} % a score of 0.5"
            )


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
