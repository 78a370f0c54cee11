"""Figures as tables for a terminal or a page."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from monitor.model.card import ModelCard

WIDE = Console(width=10_000, markup=False, emoji=False)
"""Prints tables without cropping them to the terminal, and labels as they are."""


def print_table(console: Console, table: Table) -> None:
    """Print a table: with lines on a terminal and a page, plain in a pipe or a file."""
    if console.is_terminal or console.record:
        console.print(table)
        return
    table.box, table.pad_edge, table.padding = None, False, (0, 2, 0, 0)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.print(line.rstrip(), markup=False)


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
    print_table(console, table)
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


def place_table(console: Console, report: dict[str, Any]) -> None:
    """Print what is detected in places, by networks and heads that know none of it."""
    if (figures := report.get("places")) is None:
        return
    low, high = figures["detected_ci95"]
    fewest, most = figures["false_alarms_per_hour_ci95"]
    console.print(
        f"{figures['places']} places, {figures['events']} events 6 to 20 dB above "
        f"them: {_percent(figures['detected'])} detected, each label alike (95 %: "
        f"{_percent(low)} to {_percent(high)}, by recording), "
        f"{figures['false_alarms_per_hour']:.2f} false alarms an hour (95 %: "
        f"{fewest:.2f} to {most:.2f}, by place), event F1 {figures['event_f1']:.3f}"
    )
    table = Table(
        *("label", "detected", "95 %", "far", "near", "reported after", "alarms/h"),
        *("most missed", "highest in"),
    )
    for label, own in figures["per_label"].items():
        low, high = own["detected_ci95"]
        latency = own["latency_seconds"]
        table.add_row(
            label,
            _percent(own["detected"]),
            f"{_percent(low)} to {_percent(high)}",
            _percent(own["detected_far"]),
            _percent(own["detected_near"]),
            "-" if latency is None else f"{latency:.1f} s",
            f"{own['false_alarms_per_hour']:.2f}",
            ", ".join(own["limiting_recordings"]),
            ", ".join(own["limiting_places"]),
        )
    print_table(console, table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def threshold_table(console: Console, card: ModelCard) -> None:
    """Print the thresholds of a model, with the false alarms expected of them."""
    if not card.thresholds:
        return
    table = Table("label", "onset threshold", "offset threshold", "false alarms a day")
    for label, found in card.thresholds.items():
        rate = 24 * (found.false_alarms_per_hour or 0)
        table.add_row(label, f"{found.onset:.3f}", f"{found.offset:.3f}", f"{rate:.2f}")
    print_table(console, table)


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
    print_table(console, table)


def profile_table(console: Console, facts: dict[str, dict[str, float]]) -> None:
    """Print the seconds of each part of a training, and their shares."""
    titles = {
        "process": "time of the thread that trains",
        "workers": "meanwhile, time of all threads that make windows, together",
    }
    for key, title in titles.items():
        if total := sum(facts[key].values()):
            table = Table("part", "seconds", "share", title=title, title_justify="left")
            for name, seconds in facts[key].items():
                table.add_row(name, f"{seconds:.1f}", f"{100 * seconds / total:.1f} %")
            table.add_row("total", f"{total:.1f}", "")
            print_table(console, table)


_TIMES = {
    "from onset to alert": "onset_latency_seconds",
    "error of the start": "start_error_seconds",
    "error of the end": "end_error_seconds",
}


def _bias(spread: dict[str, float]) -> str:
    return f", on average {spread['mean']:+.2f} s" if "mean" in spread else ""
