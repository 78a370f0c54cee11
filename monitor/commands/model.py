"""`sound-monitor model`: the metadata of a model file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import JsonOption, argument, flag, option
from monitor.errors import UsageError
from monitor.extras import require_extra
from monitor.text import counted

if TYPE_CHECKING:
    from monitor.model.card import Description, ModelCard
    from monitor.model.thresholds import CurvePoint

_FIGURES = ("precision", "recall", "f1", "clips")

HELP = """Show the labels, thresholds, test report and licence of a model file.

FILE is a model file, or an included model: urban or world.

--labels lists the labels that can be chosen in the configuration: of FILE,
without it of the included models.  With a WORD it searches names, sentences
and classes, and explains the label of exactly this name.

The share of sounds detected and the false alarms are those at sensitivity
0.5; --curves prints them from 0 to 1.  --json prints the complete metadata of
the file.  --convert adds to a file of an earlier version the graph that ONNX
Runtime runs; it needs the extra train.

Examples:
  sound-monitor model
  sound-monitor model world --curves
  sound-monitor model --labels
  sound-monitor model --labels smoke_alarm
  sound-monitor model runs/latest/model.safetensors --json
  sound-monitor model old.safetensors --convert new.safetensors
"""


def model(
    file: Annotated[
        Path | None, argument("FILE", "Model file, urban or world; urban by default.")
    ] = None,
    labels: Annotated[
        str | None,
        option(
            "[WORD]",
            "List the labels that can be chosen, or those that match WORD.",
        ),
    ] = None,
    as_json: JsonOption = False,
    curves: Annotated[
        bool, flag("--curves", "Print the figures for eleven sensitivities.")
    ] = False,
    convert: Annotated[
        Path | None, option("NEW_FILE", "Write the model with its graph to NEW_FILE.")
    ] = None,
) -> int:
    """Print spec and card of a model file without loading torch."""
    from monitor.commands.process import print_json, print_line
    from monitor.model.card import read_card

    if labels is not None:
        if curves or convert is not None:
            raise UsageError("--labels cannot be combined with --curves or --convert")
        if file is None and labels.endswith(".safetensors"):
            raise UsageError(
                f"--labels: {labels} is a model file; write it first: "
                f"sound-monitor model {labels} --labels"
            )
        from monitor.commands.labels import print_labels

        print_labels(None if file is None else str(file), labels, as_json=as_json)
        return 0
    description = read_card(file)
    if convert is not None:
        require_extra("train", "torch", "--convert")
        if convert.exists():
            raise UsageError(
                f"--convert: {convert} exists: give the name of a new file"
            )
        from monitor.model.trained import convert_model

        convert_model(file, convert)
        print_line(f"wrote {convert}")
        return 0
    if as_json:
        spec, card = (part.model_dump(mode="json") for part in description)
        print_json({"spec": spec, "card": card})
    elif curves:
        _print_curves(description.card)
    else:
        _print_card(description)
    return 0


def _print_card(description: "Description") -> None:
    from monitor.commands.process import print_line, print_lines, print_table

    spec, card = description
    print_line(card_line(description))
    print_line(
        f"input    {spec.sample_rate} Hz, {counted(spec.channels, 'channel')}, "
        f"{spec.n_mels} mel bands from {spec.f_min:g} to {spec.f_max:g} Hz, windows of "
        f"{spec.seconds(spec.window_samples):.3f} s"
    )
    for number, line in enumerate((card.licence or "not given").splitlines()):
        print_line(f"{'' if number else 'licence':<9}{line}")
    print_line()
    has_curves = any(found.curve for found in card.thresholds.values())
    measured = EXPECTED_COLUMNS if has_curves else ("FALSE ALARMS/H",)
    print_table(
        ("LABEL", "ONSET", "OFFSET", *measured, *map(str.upper, _figures_of(card))),
        [_label_row(card, it, has_curves) for it in card.catalogue or card.labels],
    )
    if has_curves:
        print_lines(EXPECTED_NOTES)
    if card.catalogue:
        print_line(
            "DETECTED: of clips, at the onset threshold; AP: average precision in them."
        )
    elif card.report:
        print_line(
            "Precision, recall and F1 are those of clips classified by their highest "
            "score; fewer reach the thresholds."
        )
    print_line()
    for key, value in card.report.items():
        # Nested results are in the table or too long.
        if not isinstance(value, dict) and key != "confusion":
            print_line(f"{key}: {_text(value)}")


EXPECTED_COLUMNS = ("NEAR", "FAR", "REPORTED AFTER", "FALSE ALARMS")
EXPECTED_NOTES = (
    "NEAR: detected of the sounds 12 to 20 dB above the background; FAR: 6 to 12 dB.",
    "False alarms in recordings of places, each event counted.",
)


def expected_cells(point: "CurvePoint | None") -> tuple[str, ...]:
    """Figures of a label at one sensitivity, for the columns above."""
    if point is None:
        return ("-",) * len(EXPECTED_COLUMNS)
    latency = point.latency_seconds
    rate, limit = point.false_alarms_per_hour, point.false_alarms_per_hour_at_most
    return (
        *(
            "-" if share is None else f"{share:.0%}"
            for share in (point.detected_near, point.detected_far)
        ),
        "-" if latency is None else f"{latency:.1f} s",
        rate_text(rate, limit),
    )


def rate_text(per_hour: float, at_most: float | None = None) -> str:
    """Format a rate, and its upper limit."""

    def number(rate: float) -> str:
        return f"{rate:.{0 if rate >= 10 else 1 if rate >= 1 else 2}f}"

    limit = "" if at_most is None else f" (at most {number(at_most)})"
    return f"{number(per_hour)} an hour{limit}"


def _print_curves(card: "ModelCard") -> None:
    from monitor.commands.process import print_table
    from monitor.model.catalogue import known_labels

    print_table(
        ("LABEL", "SENSITIVITY", "ONSET", *EXPECTED_COLUMNS),
        [
            (label, f"{index / 10:.1f}", f"{point.onset:.3f}", *expected_cells(point))
            for label in known_labels(card)
            if (found := card.thresholds.get(label))
            for index, point in enumerate(found.curve)
        ],
        empty="no label of the model has a curve",
    )


def _label_row(card: "ModelCard", label: str, has_curves: bool) -> tuple[str, ...]:
    found = card.thresholds.get(label)
    onset, offset = (found.onset, found.offset) if found else (None, None)
    if has_curves:
        expected = expected_cells(found.expected_at(found.onset) if found else None)
    else:
        expected = (_text(found and found.false_alarms_per_hour),)
    figures = _figures_of(card, label).values()
    return (label, _text(onset), _text(offset), *expected, *map(_text, figures))


def _figures_of(card: "ModelCard", label: str = "") -> dict[str, object]:
    """Figures of a label in clips, by the title of their column."""
    if card.catalogue:
        entry = card.catalogue.get(label)
        found = entry.figures if entry else None
        return {
            "detected": found and f"{found.detected:.0%}",
            "ap": found and f"{found.average_precision:.2f}",
            "clips": found and found.clips,
        }
    measured: object = card.report
    for key in ("per_class", label):
        measured = measured.get(key) if isinstance(measured, dict) else None
    known = measured if isinstance(measured, dict) else {}
    return {name: known.get(name) for name in _FIGURES}


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return str(value)


def card_line(description: "Description") -> str:
    """Name, network, number of labels and date of a model in one line."""
    card = description.card
    labels = f"{len(card.labels)} labels"
    if card.catalogue:
        labels = f"{len(card.catalogue)} labels of {len(card.labels)} classes"
    return (
        f"model    {card.name}: network {card.preset}, {labels}, "
        f"created {card.created[:10] or 'at an unknown time'}"
    )
