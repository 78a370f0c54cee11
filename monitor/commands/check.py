"""`sound-monitor check`: validates the configuration."""

import gc
from typing import TYPE_CHECKING, Any

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.commands.configuration_check import ConfigurationCheck, LabelCheck
    from monitor.spec import ModelSpec

HELP = """Validate the configuration without listening.

Shows what each setting means: sources, files, where alerts go, and for each label its
rule, whether it can fire at all, and its latency bound: the longest time from the onset
of a sound to its report, if the network recognises it at once.  Every problem is
listed; the exit code is 2 if there is one.

\b
Examples:
  sound-monitor check
  sound-monitor check --config config.yaml
"""


def check(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Print the meaning of the configuration, and its problems; loads no torch."""
    # Nearly all objects made here are modules, which stay.  Collections would take a
    # tenth of the time.
    gc.disable()
    from monitor.audio.sources.microphone import list_devices
    from monitor.commands.configuration import load
    from monitor.commands.configuration_check import check_configuration
    from monitor.commands.output import print_json

    try:
        configuration = load(config)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"problems": str(error).splitlines()})
        return ConfigError.exit_code
    result = check_configuration(configuration, list_devices)
    if as_json:
        print_json(_facts(configuration, result))
    else:
        _print_report(configuration, result)
    return ConfigError.exit_code if result.problems else 0


def _facts(
    configuration: "Configuration", result: "ConfigurationCheck"
) -> dict[str, Any]:
    path, model = configuration.path, result.model
    labels: dict[str, Any] = {}
    if model is not None:
        for each in result.labels:
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
            for source in result.sources
        ],
        "labels": labels,
        "files": {
            name: None if file is None else str(file)
            for name, file in result.files.items()
        },
        "alerts": result.endpoints,
        "problems": result.problems,
    }


def _label_facts(label: "LabelCheck", spec: "ModelSpec") -> dict[str, Any]:
    rule, feasibility = label.rule, label.feasibility
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


def _print_report(configuration: "Configuration", result: "ConfigurationCheck") -> None:
    from monitor.commands.model import card_line
    from monitor.commands.output import print_line, print_table

    print_line(configuration.sentence)
    print_line()
    print_table(
        ("SOURCE", "INPUT", "DESCRIPTION", ""),
        [
            (source.name, source.input, source.description, source.note)
            for source in result.sources
        ],
    )
    print_line()
    if result.model is not None:
        print_line(card_line(result.model))
        print_line()
        _print_labels(result, result.model.spec)
        print_line()
    if result.endpoints:
        print_table(("ENDPOINT", "DESTINATION"), list(result.endpoints.items()))
        print_line()
    for name, file in result.files.items():
        print_line(f"{name}: {'none' if file is None else file}")
    print_line()
    for problem in result.problems:
        print_line(f"problem: {problem}")
    count = len(result.problems)
    print_line(
        f"{count} problem{'s' * (count != 1)} found"
        if count
        else "the configuration is valid"
    )


_LABEL_COLUMNS = {
    "ONSET": ("onset_threshold", ".2f", ""),
    "OFFSET": ("offset_threshold", ".2f", ""),
    "SMOOTHING": ("smoothing_hops", "d", ""),
    "MIN ON": ("min_duration_on_seconds", ".1f", " s"),
    "MIN OFF": ("min_duration_off_seconds", ".1f", " s"),
    "REFRACTORY": ("refractory_seconds", ".1f", " s"),
    "SHORTEST": ("shortest_sound_seconds", ".1f", " s"),
    "LATENCY": ("latency_bound_seconds", ".1f", " s"),
}


def _print_labels(result: "ConfigurationCheck", spec: "ModelSpec") -> None:
    from monitor.commands.output import print_table

    rows = []
    for each in result.labels:
        facts = _label_facts(each, spec)
        figures = [
            f"{facts[key]:{form}}{unit}" for key, form, unit in _LABEL_COLUMNS.values()
        ]
        can_fire = "yes" if facts["can_fire"] else "NO"
        rows.append((each.feasibility.label, can_fire, *figures))
    print_table(("LABEL", "CAN FIRE", *_LABEL_COLUMNS), rows)
