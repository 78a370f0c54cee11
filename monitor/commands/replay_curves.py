"""`replay --curves`: the events of eleven sensitivities, from stored scores."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

from monitor.commands.arguments import database_path
from monitor.commands.label_option import chosen_labels
from monitor.commands.process import print_json_line, print_table
from monitor.text import utc_text

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.detection.rules import LabelRule
    from monitor.runtime.loading import ChosenModels
    from monitor.runtime.place_curves import PlaceCurve
    from monitor.sinks.store.queries import Reader
    from monitor.sinks.store.records import Session

STEPS = 10
"""Sensitivities are multiples of a tenth."""


def print_curves(
    configuration: "Configuration",
    names: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Print, for each label that is reported, its curve and the events of the place.

    `names` are the values of --label; without any, of all.

    Without a database, or scores in it, the curve of the model file stands alone.
    """
    from monitor.runtime.loading import choose_models

    models = choose_models(configuration.config, configuration.state_dir)
    reported = models.labels.all_reported
    with _reading(configuration) as reader:
        chosen = chosen_labels(names, configuration.config, reader) or reported
        counted = (
            _count(configuration, models, chosen, reader, since, until)
            if reader
            else {}
        )
    labels = {
        label: _facts(configuration, models, label, counted.get(label))
        for label in reported
        if label in chosen
    }
    changed = configuration.overrides.detection
    if as_json:
        facts = {
            "since": utc_text(since),
            "sensitivity": configuration.config.detection.sensitivity,
            "is_overridden": changed.sensitivity is not None,
        }
        print_json_line({**facts, "labels": labels})
        return
    print_table(
        ("LABEL", "SENSITIVITY", "ONSET", "EVENTS", "EVENTS/H"),
        [
            (
                label,
                f"{point['sensitivity']:.1f}",
                f"{point['onset']:.3f}",
                "-" if point["events"] is None else str(point["events"]),
                "-"
                if point["events_per_hour"] is None
                else f"{point['events_per_hour']:.2f}",
            )
            for label, facts in labels.items()
            for point in facts["curve"]
        ],
        empty="no label has a curve",
    )


def _reading(configuration: "Configuration") -> "AbstractContextManager[Reader | None]":
    """Open the database, if there is one."""
    from monitor.sinks.store.queries import open_to_read

    has_none = configuration.config.store.path is None
    if has_none or not database_path(configuration).exists():
        return nullcontext()
    return open_to_read(database_path(configuration))


def _count(
    configuration: "Configuration",
    models: "ChosenModels",
    chosen: Collection[str],
    reader: "Reader",
    since: datetime | None,
    until: datetime | None,
) -> "Mapping[str, PlaceCurve]":
    from monitor.commands.replay_rules import ReplayRules
    from monitor.runtime.place_curves import count_events

    config = configuration.config
    curved = [
        label
        for label, each in models.thresholds.items()
        if each.curve and label in chosen
    ]
    if not curved:
        return {}
    plain = config.detection.without_thresholds()
    rules = []
    for step in range(STEPS + 1):
        detection = plain
        for label in curved:
            detection = detection.with_sensitivity(step / STEPS, label)
        rules.append(ReplayRules(models, detection, curved))

    def rules_for(session: "Session", source: str) -> dict[str, list["LabelRule"]]:
        found = [each(session, source) for each in rules]
        return {label: [each[label] for each in found] for label in found[0]}

    gate = config.detection.level_gate_dbfs
    return count_events(reader, rules_for, gate, since, until)


def _facts(
    configuration: "Configuration",
    models: "ChosenModels",
    label: str,
    counted: "PlaceCurve | None",
) -> dict[str, Any]:
    """Facts of a label; keys may be added."""
    detection = configuration.config.detection
    thresholds = models.thresholds.get(label)
    own = detection.labels.get(label)
    onset = own.onset_threshold if own is not None else None
    sensitivity: float | None = detection.sensitivity_of(label)
    follows = own is None or (own.sensitivity is None and onset is None)
    curve: Sequence[Any] = ()
    if thresholds is not None:
        curve = thresholds.curve
        if onset is not None:
            sensitivity = thresholds.sensitivity_at(onset)
        elif curve and sensitivity is not None:
            onset = thresholds.onset_at(sensitivity)
        else:
            onset = thresholds.onset
    return {
        "model": models.names.get(label),
        "sensitivity": sensitivity if curve else None,
        "follows": follows,
        "is_overridden": label in configuration.overrides.detection.labels,
        "has_onset": own is not None and own.onset_threshold is not None,
        "onset": onset,
        "hours": 0.0 if counted is None else round(counted.seconds / 3600, 3),
        "curve": [
            {
                "sensitivity": step / STEPS,
                **_rounded(point.model_dump()),
                **_counted(counted, step),
            }
            for step, point in enumerate(curve)
        ],
    }


def _rounded(figures: dict[str, float | None]) -> dict[str, float | None]:
    """Round to what was measured: the thresholds stay as they are."""
    return {
        key: value if value is None or key == "onset" else round(value, 4)
        for key, value in figures.items()
    }


def _counted(counted: "PlaceCurve | None", step: int) -> dict[str, float | None]:
    if counted is None or not counted.events or not counted.seconds:
        return {"events": None, "events_per_hour": None}
    events = counted.events[step]
    return {
        "events": events,
        "events_per_hour": round(events * 3600 / counted.seconds, 4),
    }
