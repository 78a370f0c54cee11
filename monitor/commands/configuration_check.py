"""Validation of a configuration against model, machine and files, for `check`."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.audio.sources.devices import InputDevice, choose_device
from monitor.audio.sources.source import Source, build_source
from monitor.commands.configuration import Configuration
from monitor.config.config import Config
from monitor.config.detection import DEFAULT_SENSITIVITY, LabelSettings
from monitor.detection.feasibility import Feasibility, examine
from monitor.detection.rules import LabelRule, require_curves, resolve_rules
from monitor.errors import ConfigError, SoundMonitorError
from monitor.extras import require_extra
from monitor.model.card import TAUGHT_MODEL
from monitor.model.catalogue import CatalogueEntry
from monitor.model.thresholds import CurvePoint
from monitor.private_files import restrict_folder
from monitor.runtime.loading import (
    ChosenModels,
    choose_models,
    load_models,
    with_labels,
)
from monitor.runtime.rollout_state import STAGED
from monitor.sinks.alerts.secrets import source_password
from monitor.spec import ModelSpec, grid_fault

if TYPE_CHECKING:
    from monitor.commands.source_trial import Trial

ListDevices = Callable[[], Sequence[InputDevice]]


@dataclass(slots=True)
class ConfigurationCheck:
    """The result of a check."""

    models: ChosenModels | None = None
    sources: list[dict[str, str]] = field(default_factory=list)
    """Name, input, description, and a note: whether a microphone is connected now."""

    live: dict[str, Source] = field(default_factory=dict)
    """The live sources by name, built but not opened."""

    trials: dict[str, "Trial"] = field(default_factory=dict)
    """What each of them has delivered, if they were tried."""

    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By label that is reported, its model, the model's words and figures for it, its
    rule, and the sounds that the rule can detect."""

    expected: dict[str, CurvePoint] = field(default_factory=dict)
    """Figures to expect, of the labels for whose thresholds the model has some."""

    files: dict[str, Path | None] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    """By endpoint, the destination of its alerts, without secrets."""

    publishing: dict[str, str] = field(default_factory=dict)
    """The id of this monitor in a fleet, and where its records go, if they do."""

    notes: list[str] = field(default_factory=list)
    """What is valid and has no effect, in one sentence each."""

    problems: list[str] = field(default_factory=list)
    """One sentence each."""

    @property
    def false_alarms_per_hour(self) -> float:
        """The false alarms to expect of all labels in `expected` together."""
        return sum(point.false_alarms_per_hour for point in self.expected.values())


def check_configuration(
    configuration: Configuration, list_devices: ListDevices
) -> ConfigurationCheck:
    """Check everything that can be checked without opening a source.

    Args:
        configuration: The configuration.
        list_devices: Called at most once, and only if a source is a microphone.
    """
    result = ConfigurationCheck()
    sentences = (configuration.overrides_sentence, configuration.bundle_sentence)
    result.notes += filter(None, sentences)
    _check_sources(configuration, list_devices, result)
    _check_model(configuration, result)
    if STAGED in os.environ:
        _check_loading(configuration.config, result)
    _check_files(configuration, result)
    _check_alerts(configuration, result)
    _check_services(configuration, result)
    _check_page(configuration, result)
    if result.problems:
        problems = "\n".join(result.problems)
        result.problems = configuration.placed(problems).splitlines()
    return result


def _check_page(configuration: Configuration, result: ConfigurationCheck) -> None:
    """Note why `web` would not start, if it is to be reached by other machines."""
    from monitor.commands.web import check_page
    from monitor.web.passwords import needs_password

    settings = configuration.config
    if needs_password(settings.web):
        try:
            check_page(settings, configuration.state_dir)
        except SoundMonitorError as error:
            result.notes.append(str(error))


def _check_sources(
    configuration: Configuration, list_devices: ListDevices, result: ConfigurationCheck
) -> None:
    devices: list[InputDevice] | None = None
    for settings in configuration.config.sources:
        note = ""
        try:
            source = build_source(
                settings, "max", time.monotonic, source_password(settings, os.environ)
            )
            description = source.description
            if settings.is_live:
                result.live[settings.name] = source
        except SoundMonitorError as error:
            description = "invalid"
            result.problems.append(f"source {settings.name!r}: {error}")
        kind, _, wanted = settings.input.partition(":")
        if kind == "mic":
            try:
                devices = list(list_devices()) if devices is None else devices
                note = f"connected: {devices[choose_device(wanted, devices)].name}"
            except SoundMonitorError as error:
                note = f"not connected now; the daemon would wait for it: {error}"
        result.sources.append(
            {
                "name": settings.name,
                "input": settings.input,
                "description": description,
                "note": note,
            }
        )


def _check_model(configuration: Configuration, result: ConfigurationCheck) -> None:
    config = configuration.config
    if config.model.engine == "torch" or config.model.compute_device not in (
        "auto",
        "cpu",
    ):
        try:
            require_extra("train", "torch", "model")
        except ConfigError as error:
            result.problems.append(str(error))
    try:
        result.models = models = choose_models(config, configuration.state_dir)
    except SoundMonitorError as error:
        result.problems.append(str(error))
        return
    for file in models.without_graph() if config.model.engine == "onnx" else ():
        result.problems.append(
            f"model.file: {file} has no graph for ONNX Runtime; add it with: "
            f"sound-monitor model {file} --convert NEW_FILE"
        )
    result.notes += _notes(config, models)
    detection = config.detection
    hop_frames, spec = detection.hop_frames, models.leader.spec
    grids = [
        (each.card.name, each.spec, each.card.hop_frames_step)
        for each in models.descriptions
    ]
    if fault := grid_fault(grids, hop_frames):
        result.problems.append(fault)
    rules = _resolve_rules(configuration, models, result)
    names, thresholds_of, entries = models.names, models.thresholds, models.entries
    reported = models.labels.all_reported
    shown = {label: rules[label] for label in reported if label in rules}
    for found in examine(shown, hop_frames * spec.hop_length, spec):
        label, rule = found.label, rules[found.label]
        own = detection.labels.get(label, LabelSettings())
        result.labels[label] = {
            "model": names[label],
            **_catalogue_facts(entries.get(label)),
            "members": list(models.labels.groups.get(label, ())),
            **_label_facts(rule, found, spec),
            "sensitivity": (
                detection.sensitivity_of(label) if own.onset_threshold is None else None
            ),
        }
        thresholds = thresholds_of.get(label)
        is_measured = found.can_fire and _has_measured_durations(own)
        if thresholds and is_measured:
            expected = thresholds.expected_at(rule.onset_threshold)
            if expected is not None:
                result.expected[label] = expected
        if not found.can_fire:
            result.problems.append(f"detection.labels.{found.label}: {found.why}")


def check_models(config: Config, state_dir: Path) -> list[str]:
    """Check models and rules alone, and load the models; return the problems.

    Slow: the golden vector of each model is computed.
    """
    result = ConfigurationCheck()
    _check_model(Configuration(config, state_dir, None, ""), result)
    _check_loading(config, result)
    return result.problems


def _check_loading(config: Config, result: ConfigurationCheck) -> None:
    if result.models is None:
        return
    try:
        load_models(config.model, result.models, cpu_fallback=True)
    except SoundMonitorError as error:
        result.problems.append(str(error))


_NEEDED = {
    "mqtt": "host",
    "publish": "url",
    "heartbeat": "url",
    "metrics": "listen",
    "rollout": "url",
}
"""Sections, each with the setting without which nothing comes of the others."""


def _notes(config: Config, models: ChosenModels) -> Iterator[str]:
    """Say what the configuration asks for in vain."""
    for name in models.unused:
        yield f"models: {name} does not listen: none of its labels is reported"
    reported = models.labels.all_reported
    for label in config.detection.labels:
        if label in models.known and label not in reported:
            yield f"detection.labels.{label}: {label} is not reported"
    for section, key in _NEEDED.items():
        settings = getattr(config, section).model_dump(exclude_defaults=True)
        if settings and key not in settings and f"{key}_secret" not in settings:
            unused = ", ".join(f"{section}.{name}" for name in settings)
            yield f"{unused}: without {section}.{key}, the section has no effect"
    if config.privacy != "clips":
        settings = config.clips.model_dump(exclude_defaults=True)
        unused = ", ".join(f"clips.{name}" for name in settings)
        if unused:
            yield f"{unused}: no clips are stored, unless privacy is clips"
    names = [card.name for card in models.cards]
    if config.store.embeddings and TAUGHT_MODEL not in names:
        yield (
            f"store.embeddings: labels are taught on the model {TAUGHT_MODEL}, which "
            "does not listen: add it to models"
        )


def _has_measured_durations(own: LabelSettings) -> bool:
    """Whether nothing but thresholds differs from the preset, as it was measured."""
    chosen = own.model_dump(exclude_none=True).keys()
    return chosen <= {"sensitivity", "onset_threshold", "offset_threshold"}


def _resolve_rules(
    configuration: Configuration, models: ChosenModels, result: ConfigurationCheck
) -> dict[str, LabelRule]:
    """Resolve label by label, so that one problem does not hide another."""
    spec, scored = models.leader.spec, tuple(models.names)
    thresholds, presets = models.thresholds, models.presets
    detection = configuration.config.detection
    try:
        require_curves(scored, detection, thresholds)
    except ConfigError as error:
        result.problems.append(str(error))
        detection = detection.model_copy(update={"sensitivity": DEFAULT_SENSITIVITY})
    rules: dict[str, LabelRule] = {}
    known = {*scored, *models.known}
    unknown = [label for label in detection.labels if label not in known]
    for label in (*unknown, *scored):
        only = {name: each for name, each in detection.labels.items() if name == label}
        settings = detection.model_copy(update={"labels": only})
        labels = scored if label in unknown else (label,)
        try:
            rules |= resolve_rules(labels, settings, thresholds, spec, presets)
        except SoundMonitorError as error:
            result.problems.append(str(error))
    return rules


def _catalogue_facts(entry: CatalogueEntry | None) -> dict[str, Any]:
    figures = None if entry is None else entry.figures
    return {
        "text": None if entry is None else entry.text,
        "clips": None if figures is None else figures.model_dump(),
    }


def _label_facts(
    rule: LabelRule, feasibility: Feasibility, spec: ModelSpec
) -> dict[str, Any]:
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


def _check_files(configuration: Configuration, result: ConfigurationCheck) -> None:
    state_dir, config = configuration.state_dir, configuration.config
    clips = config.clips.path if config.privacy == "clips" else None
    result.files["state_dir"] = state_dir
    problems = [_folder_problem("state_dir", state_dir)]
    for name, path, find_problem in (
        ("event_log", config.event_log.path, _file_problem),
        ("store", config.store.path, _file_problem),
        ("clips", clips, _folder_problem),
    ):
        result.files[name] = None if path is None else state_dir / path
        if path is not None:
            problems.append(find_problem(f"{name}.path", state_dir / path))
    result.problems += dict.fromkeys(filter(None, problems))


def _file_problem(key: str, path: Path) -> str | None:
    if path.is_dir():
        return f"{key}: {path} is a folder"
    if path.exists():
        return None if os.access(path, os.W_OK) else f"{key}: {path} is not writable"
    return _folder_problem(key, path.parent)


def _folder_problem(key: str, folder: Path) -> str | None:
    """Check that files can be created in `folder`, which may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        return f"{key}: {existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{key}: {existing} is not writable"
    if key == "state_dir" and (problem := restrict_folder(folder, is_trial=True)):
        return f"{key}: {problem}"
    return None


def _check_services(configuration: Configuration, result: ConfigurationCheck) -> None:
    from monitor.clock import SystemClock
    from monitor.runtime.services import ServiceContext, build_services

    config, models = configuration.config, result.models
    try:
        if models is not None:
            config = with_labels(config, models.labels)
    except ConfigError as error:
        result.problems += str(error).splitlines()
    try:
        context = ServiceContext(
            config,
            labels={} if models is None else models.labels.reported,
            sample_rate=1 if models is None else models.leader.spec.sample_rate,
            clock=SystemClock(),
            state_dir=configuration.state_dir,
            environ=os.environ,
        )
        build_services(context)
        if publisher := next(iter(context.published), None):
            facts = publisher.document
            result.publishing = {it: facts[it] for it in ("monitor", "target")}
    except ConfigError as error:
        result.problems += str(error).splitlines()


def _check_alerts(configuration: Configuration, result: ConfigurationCheck) -> None:
    rules = configuration.config.alerts
    if not rules:
        return
    # Importing the HTTP client takes a tenth of a second.
    from monitor.sinks.alerts.build import check_rules

    if configuration.config.store.path is None:
        result.problems.append("alerts need a database, and store.path is null")
    # Their labels are checked with the services.
    result.endpoints, faults = check_rules(rules, os.environ, None)
    result.problems += faults
