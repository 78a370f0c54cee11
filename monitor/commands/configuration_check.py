"""Whether a configuration can do what it says: the facts that `check` prints."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.audio.sources.devices import InputDevice, choose_device
from monitor.audio.sources.source import build_source
from monitor.commands.configuration import Configuration
from monitor.config.audio import SourceSettings
from monitor.detection.feasibility import Feasibility, examine
from monitor.detection.rules import LabelRule, resolve_rules
from monitor.errors import ConfigError, SoundMonitorError
from monitor.model.card import Description, read_card


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What one source is."""

    name: str
    input: str
    description: str
    note: str
    """Whether a microphone is there now; empty for the others."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """The rule of one label, and what it can do."""

    rule: LabelRule
    feasibility: Feasibility


@dataclass(slots=True)
class Examination:
    """Everything found out about a configuration."""

    model: Description | None = None
    sources: list[SourceFacts] = field(default_factory=list)
    labels: list[LabelFacts] = field(default_factory=list)
    files: dict[str, Path | None] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    """Of the alerts: where each goes, without what may be secret."""

    problems: list[str] = field(default_factory=list)
    """A sentence each; with none the configuration is sound."""


def examine_configuration(
    configuration: Configuration, list_devices: Callable[[], Sequence[InputDevice]]
) -> Examination:
    """Look at everything that can be looked at without listening.

    Args:
        configuration: What was read.
        list_devices: Asked only if there is a microphone among the sources.
    """
    examination = Examination()
    _examine_sources(configuration, list_devices, examination)
    _examine_model(configuration, examination)
    _examine_files(configuration, examination)
    _examine_alerts(configuration, examination)
    _examine_companions(configuration, examination)
    if examination.problems:
        problems = "\n".join(examination.problems)
        examination.problems = configuration.placed(problems).splitlines()
    return examination


def _examine_sources(
    configuration: Configuration,
    list_devices: Callable[[], Sequence[InputDevice]],
    examination: Examination,
) -> None:
    present = _Present(list_devices)
    for settings in configuration.config.sources:
        try:
            source = build_source(settings, "max", time.monotonic)
        except SoundMonitorError as error:
            description = "cannot be used"
            examination.problems.append(f"source {settings.name!r}: {error}")
        else:
            description = source.description
        note = present.note(settings)
        examination.sources.append(
            SourceFacts(settings.name, settings.input, description, note)
        )


class _Present:
    """The input devices of now, asked for at most once."""

    def __init__(self, list_devices: Callable[[], Sequence[InputDevice]]) -> None:
        self._list_devices = list_devices
        self._known: Sequence[InputDevice] | None = None

    def note(self, settings: SourceSettings) -> str:
        kind, _, wanted = settings.input.partition(":")
        if kind != "mic":
            return ""
        try:
            if self._known is None:
                self._known = self._list_devices()
            device = self._known[choose_device(wanted, self._known)]
        except SoundMonitorError as error:
            return f"not there now, would be waited for: {error}"
        return f"there now: {device.name}"


def _examine_model(configuration: Configuration, examination: Examination) -> None:
    config = configuration.config
    try:
        examination.model = read_card(config.model.file)
    except SoundMonitorError as error:
        examination.problems.append(str(error))
        return
    spec, card = examination.model
    hop_frames = config.detection.hop_frames
    if hop_frames % card.total_stride:
        examination.problems.append(
            f"detection.hop_frames: {hop_frames} is not a multiple of the stride of "
            f"the model {card.name!r}, {card.total_stride} frames"
        )
    rules: dict[str, LabelRule] = {}
    for resolved in _resolve_each(configuration, examination.model):
        if isinstance(resolved, SoundMonitorError):
            examination.problems.append(str(resolved))
        else:
            rules.update(resolved)
    answers = examine(rules, hop_frames * spec.hop_length, spec)
    for answer in answers:
        examination.labels.append(LabelFacts(rules[answer.label], answer))
        if not answer.can_fire:
            examination.problems.append(
                f"detection.labels.{answer.label}: {answer.why}"
            )


def _resolve_each(
    configuration: Configuration, model: Description
) -> Iterator[dict[str, LabelRule] | SoundMonitorError]:
    """Resolve label by label, so that one fault does not hide another."""
    spec, card = model
    thresholds = {
        label: (found.onset, found.offset) for label, found in card.thresholds.items()
    }
    detection = configuration.config.detection
    configured = [label for label in detection.labels if label not in card.labels]
    for label in (*configured, *card.labels):
        only = {
            name: settings
            for name, settings in detection.labels.items()
            if name == label
        }
        try:
            rules = resolve_rules(
                card.labels,
                detection.model_copy(update={"labels": only}),
                thresholds,
                spec,
            )
        except SoundMonitorError as error:
            yield error
        else:
            yield {label: rules[label]}


def _examine_files(configuration: Configuration, examination: Examination) -> None:
    state_dir = configuration.state_dir
    examination.files["state_dir"] = state_dir
    config = configuration.config
    complaints = [_folder_complaint("state_dir", state_dir)]
    for name, path in (
        ("event_log", config.event_log.path),
        ("store", config.store.path),
    ):
        file = None if path is None else state_dir / path
        examination.files[name] = file
        if file is not None:
            complaints.append(_file_complaint(f"{name}.path", file))
    if config.privacy == "clips":
        folder = state_dir / config.clips.path
        examination.files["clips"] = folder
        complaints.append(_folder_complaint("clips.path", folder))
    else:
        examination.files["clips"] = None
    examination.problems += dict.fromkeys(filter(None, complaints))


def _file_complaint(key: str, path: Path) -> str | None:
    if path.is_dir():
        return f"{key}: {path} is a folder"
    if path.exists():
        return None if os.access(path, os.W_OK) else f"{key}: {path} is not writable"
    return _folder_complaint(key, path.parent)


def _folder_complaint(key: str, folder: Path) -> str | None:
    """Whether files can be made in `folder`, which is made itself if it is missing."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        return f"{key}: {existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{key}: {existing} is not writable"
    return None


def _examine_companions(configuration: Configuration, examination: Examination) -> None:
    from monitor.clock import SystemClock
    from monitor.runtime.services import AudioHistory, ServiceContext, build_services

    config, model = configuration.config, examination.model
    try:
        build_services(
            ServiceContext(
                config,
                labels=config.clips.labels if model is None else model.card.labels,
                sample_rate=1 if model is None else model.spec.sample_rate,
                clock=SystemClock(),
                past=AudioHistory(),
                state_dir=configuration.state_dir,
                environ=os.environ,
            )
        )
    except ConfigError as error:
        examination.problems += str(error).splitlines()


def _examine_alerts(configuration: Configuration, examination: Examination) -> None:
    rules = configuration.config.alerts
    if not rules:
        return
    # The HTTP client takes a tenth of a second to import.
    from monitor.sinks.alerts.build import describe, find_faults

    if configuration.config.store.path is None:
        examination.problems.append("alerts need a database, and store.path is null")
    # Without a model its labels are not known, which is a problem of its own.
    model = examination.model
    labels = None if model is None else model.card.labels
    examination.problems += find_faults(rules, labels, os.environ)
    examination.endpoints = describe(rules, os.environ)
