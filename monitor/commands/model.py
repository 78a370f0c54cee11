"""`sound-monitor model`: the metadata of a model file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import JsonOption, argument, option
from monitor.errors import UsageError
from monitor.extras import require_extra

if TYPE_CHECKING:
    from monitor.model.card import Description, ModelCard

_FIGURES = ("precision", "recall", "f1", "clips")

HELP = """Show the labels, thresholds, test report and licence of a model file.

--json prints the complete metadata of the file.  --convert adds to a file of
an earlier version the graph that ONNX Runtime runs; it needs the extra
train.

Examples:
  sound-monitor model
  sound-monitor model runs/latest/model.safetensors --json
  sound-monitor model old.safetensors --convert new.safetensors
"""


def model(
    file: Annotated[
        Path | None, argument("FILE", "Model file; by default the included model.")
    ] = None,
    as_json: JsonOption = False,
    convert: Annotated[
        Path | None, option("NEW_FILE", "Write the model with its graph to NEW_FILE.")
    ] = None,
) -> int:
    """Print spec and card of a model file without loading torch."""
    from monitor.commands.process import print_json, print_line
    from monitor.model.card import read_card

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
    else:
        _print_card(description)
    return 0


def _print_card(description: "Description") -> None:
    from monitor.commands.process import print_line, print_table

    spec, card = description
    print_line(card_line(description))
    print_line(
        f"input    {spec.sample_rate} Hz, {spec.channels} channels, {spec.n_mels} mel "
        f"bands from {spec.f_min:g} to {spec.f_max:g} Hz, windows of "
        f"{spec.seconds(spec.window_samples):.3f} s"
    )
    for number, line in enumerate((card.licence or "not given").splitlines()):
        print_line(f"{'' if number else 'licence':<9}{line}")
    print_line()
    print_table(
        ("LABEL", "ONSET", "OFFSET", "FALSE ALARMS/H", *map(str.upper, _FIGURES)),
        [_label_row(card, label) for label in card.labels],
    )
    if card.report:
        print_line(
            "Precision, recall and F1 are those of clips classified by their highest "
            "score; fewer reach the thresholds."
        )
    print_line()
    for key, value in card.report.items():
        # Nested results are in the table or too long.
        if not isinstance(value, dict) and key != "confusion":
            print_line(f"{key}: {_text(value)}")


def _label_row(card: "ModelCard", label: str) -> tuple[str, ...]:
    limits: tuple[float | None, ...] = (None, None, None)
    if found := card.thresholds.get(label):
        limits = (found.onset, found.offset, found.false_alarms_per_hour)
    measured: object = card.report
    for key in ("per_class", label):
        measured = measured.get(key) if isinstance(measured, dict) else None
    known = measured if isinstance(measured, dict) else {}
    figures = (known.get(name) for name in _FIGURES)
    return (label, *(_text(value) for value in (*limits, *figures)))


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
    return (
        f"model    {card.name}: network {card.preset}, {len(card.labels)} labels, "
        f"created {card.created[:10] or 'at an unknown time'}"
    )
