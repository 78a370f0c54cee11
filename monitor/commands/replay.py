"""`sound-monitor replay`: detection on stored scores with other settings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import (
    ConfigOption,
    JsonOption,
    SinceOption,
    UntilOption,
    database_path,
    flag,
    option,
    parse_time_range,
)
from monitor.commands.events import table_header, table_row
from monitor.commands.label_option import LabelsOption, chosen_labels
from monitor.commands.process import print_json_line, print_line, print_table
from monitor.errors import StoreError, UsageError
from monitor.text import counted, local_time

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.commands.replay_rules import ReplayRules

_CHANGES = {"stays": "unchanged", "comes": "new", "goes": "gone"}
"""Words of the table, by those of JSON."""

HELP = """Show which events other settings would detect, from stored scores.

The detection settings of --config are applied to the scores in its database,
and the result is compared with the stored events: an event is unchanged, new
or gone.  No sound is needed, and nothing is stored.

Examples:
  sound-monitor replay --config new.yaml --since 1d
  sound-monitor replay --config new.yaml --since 1w --until 1d --json
"""


def replay(
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    sensitivity: Annotated[
        list[str] | None,
        option("[LABEL=]VALUE", "Sensitivity, from 0 to 1; may be repeated."),
    ] = None,
    label: LabelsOption = None,
    curves: Annotated[
        bool, flag("--curves", "Count the events at eleven sensitivities.")
    ] = False,
    show_all: Annotated[bool, flag("--all", "Show also events that stay.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Print which events come and go."""
    from monitor.commands.configuration import load
    from monitor.commands.replay_rules import (
        ReplayRules,
        with_sensitivities,
    )
    from monitor.runtime.loading import choose_models
    from monitor.runtime.replay import replay as run_again
    from monitor.sinks.encoding import encode
    from monitor.sinks.store.queries import open_to_read

    first, last = parse_time_range(since, until)
    configuration = with_sensitivities(load(config).fitting(), sensitivity or ())
    if curves:
        from monitor.commands.replay_curves import print_curves

        if sensitivity or show_all:
            raise UsageError(
                "replay: --curves counts the events at every sensitivity: leave "
                f"{'--sensitivity' if sensitivity else '--all'} out"
            )
        print_curves(configuration, label or (), first, last, as_json=as_json)
        return 0
    models = choose_models(configuration.config, configuration.state_dir)
    with open_to_read(database_path(configuration)) as reader:
        labels = chosen_labels(label, configuration.config, reader)
        rules = ReplayRules(models, configuration.config.detection, labels)
        comparison = run_again(
            reader,
            rules,
            configuration.config.detection.level_gate_dbfs,
            first,
            last,
            rules.names,
            labels,
        )
    if rules.left_out and not rules.has_any:
        raise StoreError(
            f"the scores are of the model {', '.join(sorted(rules.left_out))}, and the "
            f"configuration names {'+'.join(sorted({*rules.names.values()}))}: "
            "thresholds of one do not apply to the other"
        )
    if comparison.since is None:
        raise StoreError("there are no scores to replay in this time range")
    changes = [
        (change, timed) for change in _CHANGES for timed in getattr(comparison, change)
    ]
    changes.sort(key=lambda change: str(change[1].start_utc))
    if as_json:
        for change, timed in changes:
            print_json_line({"change": change, "event": encode(timed)})
        return 0
    shown = [change for change in changes if show_all or change[0] != "stays"]
    if shown:
        units = configuration.config.weighted_units
        rows = ((_CHANGES[change], *table_row(timed, units)) for change, timed in shown)
        print_table(("CHANGE", *table_header(units)), rows)
        print_line()
    print_line(
        f"{counted(len(changes), 'event')} since {local_time(comparison.since)}: "
        f"{len(comparison.stays)} unchanged, {len(comparison.comes)} new, "
        f"{len(comparison.goes)} gone ({counted(comparison.frames, 'score frame')})"
    )
    for remark in _remarks(configuration, rules, comparison.not_computed):
        print_line(remark)
    return 0


def _remarks(
    configuration: "Configuration", rules: "ReplayRules", not_computed: int
) -> Iterator[str]:
    """Say what the result rests on, and what is left out of it."""
    if configuration.overrides_sentence:
        yield configuration.overrides_sentence
    if rules.left_out:
        yield "left out: scores of the model " + ", ".join(sorted(rules.left_out))
    if rules.not_scored:
        yield (
            f"nothing is known of {', '.join(sorted(rules.not_scored))} at times at "
            "which they were not chosen: they had no scores"
        )
    if not_computed:
        yield (
            f"{counted(not_computed, 'score frame')} lay below the level gate of their "
            "time and were not computed: a lower gate finds no events in them"
        )
