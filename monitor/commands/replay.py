"""`sound-monitor replay`: what other settings would have told."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.arguments import (
    ConfigOption,
    JsonOption,
    SinceOption,
    UntilOption,
)
from monitor.errors import StoreError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.detection.rules import LabelRule
    from monitor.records import Timed
    from monitor.runtime.replay import Comparison
    from monitor.sinks.store.records import Session

HELP = """Tell which events other thresholds would have told, from the stored scores.

The detection rules of --config are applied to the scores in its database, and the
events compared with those that were told.  No sound is needed, for none is stored.

\b
Examples:
  sound-monitor replay --config new.yaml --since 1d
  sound-monitor replay --config new.yaml --since 2026-11-20 --until 2026-11-21 --json
"""


def replay(
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show also what stays.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Print which events would come and which would go."""
    from monitor.commands.arguments import database_path, stretch_of_time
    from monitor.commands.configuration import load
    from monitor.runtime.replay import replay as run_again
    from monitor.sinks.store.queries import open_to_read

    first, last = stretch_of_time(since, until)
    configuration = load(config)
    with open_to_read(database_path(configuration)) as reader:
        comparison = run_again(
            reader,
            lambda session: _rules_for(configuration, session),
            configuration.config.detection.level_gate_dbfs,
            first,
            last,
        )
    if comparison.since is None:
        raise StoreError("there are no scores to replay in this stretch of time")
    if as_json:
        _print_json(comparison)
    else:
        _print_table(comparison, show_all=show_all)
    return 0


def _rules_for(
    configuration: "Configuration", session: "Session"
) -> Mapping[str, "LabelRule"]:
    """The rules of the configuration for the labels of the model of then."""
    from monitor.detection.rules import resolve_rules
    from monitor.model.card import read_card

    spec, card = read_card(configuration.config.model.file)
    if card.name != session.model or spec.sample_rate != session.sample_rate:
        raise StoreError(
            f"the scores are of the model {session.model!r}, and the configuration "
            f"names {card.name!r}: thresholds of one say nothing about the other"
        )
    thresholds = {
        label: (found.onset, found.offset) for label, found in card.thresholds.items()
    }
    detection = configuration.config.detection
    return resolve_rules(session.labels, detection, thresholds, spec)


def _changes(comparison: "Comparison") -> list[tuple[str, "Timed"]]:
    changes = [
        *(("stays", timed) for timed in comparison.stays),
        *(("comes", timed) for timed in comparison.comes),
        *(("goes", timed) for timed in comparison.goes),
    ]
    return sorted(changes, key=lambda change: str(change[1].start_utc))


def _print_json(comparison: "Comparison") -> None:
    from monitor.commands.output import print_json_line
    from monitor.sinks.encoding import encode

    for change, timed in _changes(comparison):
        print_json_line({"change": change, "event": encode(timed)})


def _print_table(comparison: "Comparison", *, show_all: bool) -> None:
    from monitor.commands.events import row
    from monitor.commands.output import print_line, print_table
    from monitor.text import local_time

    changes = _changes(comparison)
    shown = [change for change in changes if show_all or change[0] != "stays"]
    if shown:
        print_table(
            ("", "BEGAN", "SOURCE", "LABEL", "FOR", "SCORE", "DBFS", "DB(A)", "END"),
            ((change, *row(timed)) for change, timed in shown),
        )
        print_line()
    counts = Counter(change for change, _ in changes)
    assert comparison.since is not None
    print_line(
        f"{counts['stays']} events stay, {counts['comes']} come, {counts['goes']} go, "
        f"since {local_time(comparison.since)} ({comparison.frames} score frames)"
    )
