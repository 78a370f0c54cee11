"""`sound-monitor check`: is this configuration sound."""

import gc
from typing import TYPE_CHECKING, Any

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.commands.configuration_check import Examination, LabelFacts
    from monitor.spec import ModelSpec

HELP = """Say what the configuration would do, without listening.

For each label: its rule, whether it can fire at all, and the latency bound, which is
the longest time from the beginning of a sound to the window that tells it, if the
network recognises it at once.  Every problem is named; with one the exit code is 2.

\b
Examples:
  sound-monitor check
  sound-monitor check --config config.yaml
"""


def check(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Print what the configuration means and what is wrong with it; loads no torch."""
    # Nearly all that is made here are modules, which stay: to look through them again
    # and again would take the collector a tenth of the time.
    gc.disable()
    from monitor.audio.sources.microphone import list_devices
    from monitor.commands.configuration import load
    from monitor.commands.configuration_check import examine_configuration
    from monitor.commands.output import print_json

    try:
        configuration = load(config)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"problems": str(error).splitlines()})
        return ConfigError.exit_code
    examination = examine_configuration(configuration, list_devices)
    if as_json:
        print_json(_facts(configuration, examination))
    else:
        _print_report(configuration, examination)
    return ConfigError.exit_code if examination.problems else 0


def _facts(
    configuration: "Configuration", examination: "Examination"
) -> dict[str, Any]:
    path, model = configuration.path, examination.model
    labels: dict[str, Any] = {}
    if model is not None:
        for each in examination.labels:
            labels[each.feasibility.label] = _label_facts(each, model.spec)
    return {
        "configuration": {
            "path": None if path is None else str(path),
            "reason": configuration.reason,
        },
        "model": None if model is None else model.card.model_dump(mode="json"),
        "sources": [
            {
                "name": source.name,
                "input": source.input,
                "description": source.description,
                "note": source.note,
            }
            for source in examination.sources
        ],
        "labels": labels,
        "files": {
            name: None if file is None else str(file)
            for name, file in examination.files.items()
        },
        "alerts": examination.endpoints,
        "problems": examination.problems,
    }


def _label_facts(facts: "LabelFacts", spec: "ModelSpec") -> dict[str, Any]:
    rule, feasibility = facts.rule, facts.feasibility
    return {
        "onset_threshold": rule.onset_threshold,
        "offset_threshold": rule.offset_threshold,
        "smoothing_hops": rule.smoothing_hops,
        "min_duration_on_seconds": spec.seconds(rule.min_duration_on),
        "min_duration_off_seconds": spec.seconds(rule.min_duration_off),
        "refractory_seconds": spec.seconds(rule.refractory),
        "margin": rule.margin,
        "can_fire": feasibility.can_fire,
        "why": feasibility.why,
        "shortest_sound_seconds": feasibility.shortest_sound_seconds,
        "latency_bound_seconds": feasibility.latency_bound_seconds,
    }


def _print_report(configuration: "Configuration", examination: "Examination") -> None:
    from monitor.commands.model import card_line
    from monitor.commands.output import print_line, print_table

    print_line(configuration.sentence)
    print_line()
    print_table(
        ("SOURCE", "INPUT", "IS", ""),
        [
            (source.name, source.input, source.description, source.note)
            for source in examination.sources
        ],
    )
    print_line()
    if examination.model is not None:
        print_line(card_line(examination.model))
        print_line()
        _print_labels(examination, examination.model.spec)
        print_line()
    if examination.endpoints:
        print_table(("ALERTS", "GO TO"), list(examination.endpoints.items()))
        print_line()
    for name, file in examination.files.items():
        print_line(f"{name}: {'none' if file is None else file}")
    print_line()
    for problem in examination.problems:
        print_line(f"problem: {problem}")
    count = len(examination.problems)
    print_line(
        f"{count} problem{'s' * (count != 1)} found" if count else "all is sound"
    )


def _print_labels(examination: "Examination", spec: "ModelSpec") -> None:
    from monitor.commands.output import print_table

    rows = []
    for each in examination.labels:
        facts = _label_facts(each, spec)
        rows.append(
            (
                each.feasibility.label,
                f"{facts['onset_threshold']:.2f}",
                f"{facts['offset_threshold']:.2f}",
                str(facts["smoothing_hops"]),
                f"{facts['min_duration_on_seconds']:.1f} s",
                f"{facts['min_duration_off_seconds']:.1f} s",
                f"{facts['refractory_seconds']:.1f} s",
                "yes" if facts["can_fire"] else "NO",
                f"{facts['shortest_sound_seconds']:.1f} s",
                f"{facts['latency_bound_seconds']:.1f} s",
            )
        )
    print_table(
        (
            "LABEL",
            "ONSET",
            "OFFSET",
            "SMOOTHING",
            "MIN ON",
            "MIN OFF",
            "REFRACTORY",
            "CAN FIRE",
            "SHORTEST",
            "LATENCY",
        ),
        rows,
    )
