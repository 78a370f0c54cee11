"""`sound-monitor model`: what a model file says of itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands.options import JsonOption

if TYPE_CHECKING:
    from monitor.model.card import Description

HELP = """Print what a model file says of its model.

Its labels, thresholds, test report and licence.  Without FILE: of the model that
comes with the program.

\b
Examples:
  sound-monitor model
  sound-monitor model runs/latest/model.safetensors --json
"""


def model(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Print spec and card of a model file; loads no torch."""
    from monitor.commands.output import print_json
    from monitor.model.card import read_card

    description = read_card(file)
    if as_json:
        spec, card = (part.model_dump(mode="json") for part in description)
        print_json({"spec": spec, "card": card})
    else:
        _print_card(description)
    return 0


def _print_card(description: "Description") -> None:
    from monitor.commands.output import print_line, print_table

    spec, card = description
    print_line(card_line(description))
    print_line(
        f"input    {spec.sample_rate} Hz, {spec.channels} channels, {spec.n_mels} mel "
        f"bands from {spec.f_min:g} to {spec.f_max:g} Hz, windows of "
        f"{spec.seconds(spec.window_samples):.3f} s"
    )
    print_line(f"licence  {card.licence or 'not said'}")
    print_line()
    rows = []
    for label in card.labels:
        measured = card.thresholds.get(label)
        cells = ("-", "-", "-")
        if measured is not None:
            rate = measured.false_alarms_per_hour
            cells = (
                f"{measured.onset:.3f}",
                f"{measured.offset:.3f}",
                "-" if rate is None else f"{rate:.2f}",
            )
        rows.append((label, *cells))
    print_table(("LABEL", "ONSET", "OFFSET", "FALSE ALARMS PER HOUR"), rows)
    for title, facts in (("report", card.report), ("training", card.training)):
        if facts:
            print_line()
            print_line(f"{title}:")
            _print_facts(facts, "  ")


def card_line(description: "Description") -> str:
    """Name, network, labels and age of a model in one line."""
    card = description.card
    return (
        f"model    {card.name}: network {card.preset}, {len(card.labels)} labels, made "
        f"{card.created[:10] or 'at an unknown time'}"
    )


def _print_facts(facts: dict[str, Any], indent: str) -> None:
    from monitor.commands.output import print_line

    for key, value in facts.items():
        if isinstance(value, dict):
            print_line(f"{indent}{key}:")
            _print_facts(value, indent + "  ")
        else:
            print_line(f"{indent}{key}: {value}")
