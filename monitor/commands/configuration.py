"""The configuration of a command: the settings of its file, checked."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from monitor.commands.configuration_file import (
    SYSTEM_FILE,
    VARIABLE,
    find_file,
    find_state_dir,
    read_file,
    text_digest,
)
from monitor.config.audio import SourceSettings
from monitor.config.config import Config, check_ports
from monitor.config.load import check_settings, parse_config, parse_overrides
from monitor.config.overrides import OVERRIDES, Overrides, merge
from monitor.config.strict_yaml import read_yaml
from monitor.errors import ConfigError, SoundMonitorError, UsageError
from monitor.text import first_fault

OPTIONS = "SOUND_MONITOR_RUN_OPTIONS"
"""Variable in which `run` gives its page, and others of its child processes, the
arguments of `with_options`, as JSON: they are of the same sources and model."""


@dataclass(frozen=True)
class Configuration:
    """Settings and their origin."""

    config: Config
    state_dir: Path
    """Absolute folder for everything the monitor writes; may not exist yet."""

    path: Path | None
    """The file; None: the defaults."""

    reason: str
    """Why this file was chosen."""

    digest: str = ""
    """That of its text; see `text_digest`."""

    overrides: Overrides = field(default_factory=Overrides)
    """Settings that were changed while the monitor ran; `config` contains them."""

    unfit: tuple[str, ...] = ()
    """Why others of that file are left out, a sentence each."""

    plain: Config = field(default_factory=Config)
    """The settings without the overrides."""

    bundle: int | None = None
    """The bundle whose settings are in it; None: none is."""

    bundle_sentence: str = ""
    """The bundle and its faults, for people; empty: there is none."""

    bundle_fault: str = ""
    """Why the bundle is left out, a sentence; empty: it is not."""

    @property
    def taken(self) -> str:
        """The absolute path of the file, or "the defaults"."""
        return "the defaults" if self.path is None else str(self.path.absolute())

    @property
    def sentence(self) -> str:
        """The choice and its reason, for people."""
        return f"configuration: {self.path or 'the defaults'} ({self.reason})"

    @property
    def overrides_sentence(self) -> str:
        """The overrides and their file, for people; empty: there are none."""
        path, parts = self.state_dir / OVERRIDES, list(self.unfit_sentences)
        if self.overrides:
            parts.insert(0, f"overrides: {self.overrides.sentence} ({path})")
        return "; ".join(parts)

    @property
    def unfit_sentences(self) -> Iterator[str]:
        """The overrides that are left out, for people."""
        return (f"an override is left out: {fault}" for fault in self.unfit)

    def command_environ(self, options: Mapping[str, object]) -> dict[str, str]:
        """Variables with which a command has the same settings as this one.

        `options` are arguments of `with_options` by which this one departs from the
        file.
        """
        file = {} if self.path is None else {VARIABLE: str(self.path.absolute())}
        return {OPTIONS: json.dumps(options), **file}

    def fitting(self, model: Path | None = None) -> "Configuration":
        """Leave out the overrides that the models do not admit, each on its own.

        `model` replaces the models of the file.
        """
        if not self.overrides:
            return self
        from monitor.runtime.sensitivity import rules_check

        try:
            check = rules_check(with_options(self.plain, model=model), self.state_dir)
        except SoundMonitorError:  # of the configuration itself: its user will hear
            return self
        return self._without_unfit(check)

    def _without_unfit(self, check: Callable[[Overrides], object]) -> "Configuration":
        overrides, faults = self.overrides.fitting(check)
        return replace(
            self,
            config=merge(self.plain, overrides),
            overrides=overrides,
            unfit=(*self.unfit, *map(self.placed, faults)),
        )

    def placed(self, sentences: str) -> str:
        """Prefix sentences about settings with file and line of their keys.

        Sentences that do not begin with a key of a file stay as they are.
        """
        documents = {}
        for path in filter(None, (self.state_dir / OVERRIDES, self.path)):
            with suppress(ConfigError):  # there is none, or it has changed since
                documents[path] = read_yaml(read_file(path, self.reason), str(path))
        lines = []
        for sentence in sentences.splitlines():
            found = {path: it.line_of(sentence) for path, it in documents.items()}
            places = (f"{path}:{line}: " for path, line in found.items() if line)
            lines.append(f"{next(places, '')}{sentence}")
        return "\n".join(lines)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Add file and line to a `ConfigError` of the block."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(self.placed(str(error))) from error


def load(
    chosen: Path | None,
    environ: Mapping[str, str] = os.environ,
    system_file: Path = SYSTEM_FILE,
) -> Configuration:
    """Read `chosen`, else $SOUND_MONITOR_CONFIG, else the system's file, else defaults.

    Raises:
        ConfigError: The named file is missing or invalid.
    """
    return _load(*find_file(chosen, environ, system_file), environ)


def load_again(
    before: Configuration,
    environ: Mapping[str, str] = os.environ,
    system_file: Path = SYSTEM_FILE,
) -> Configuration:
    """Read the file of `before` again; for the defaults, search as `load` does.

    Raises:
        ConfigError: The file is missing or invalid.
    """
    if before.path is None:
        return load(None, environ, system_file)
    return _load(before.path, before.reason, environ)


def _load(path: Path | None, reason: str, environ: Mapping[str, str]) -> Configuration:
    text = None if path is None else read_file(path, reason)
    config = Config() if text is None else parse_config(text, str(path))
    state_dir = find_state_dir(config.state_dir, environ)
    digest = "" if text is None else text_digest(text)
    bundled = _with_bundle(config, state_dir, environ)
    config = bundled.config
    if options := environ.get(OPTIONS):
        config = with_options(config, **json.loads(options))
    overrides, faults = _read_overrides(state_dir / OVERRIDES)
    found = Configuration(
        config,
        state_dir,
        path,
        reason,
        digest,
        overrides,
        (*faults,),
        config,
        *bundled[1:],
    )
    return found._without_unfit(partial(merge, config))


class _Bundled(NamedTuple):
    """Settings with those of a bundle, and the facts of it; see `Configuration`."""

    config: Config
    bundle: int | None = None
    sentence: str = ""
    fault: str = ""


def _with_bundle(
    config: Config, state_dir: Path, environ: Mapping[str, str]
) -> _Bundled:
    """Add the settings of the bundle that runs; one that is staged replaces it.

    Raises:
        ConfigError: The one that is staged does not fit.
    """
    if config.rollout.url is None:
        return _Bundled(config)
    from monitor.runtime.rollout_state import (
        LEFT_OUT,
        STAGED,
        UNCOUNTED,
        bundle_folder,
    )

    folder = bundle_folder(state_dir)
    if staged := environ.get(STAGED):
        return _Bundled(folder.merged(config, int(staged)), int(staged))
    version, fault = None, ""
    try:
        before = folder.read()
        state = before.trusted(config.rollout.public_keys)
        if before.running is not None and before.running != state.running:
            fault = (
                f"bundle {before.running.version} is left out: its key is no longer in "
                "rollout.public_keys"
            )
        left_out = state.running if state.trial is not None else None
        if left_out is not None and left_out.digest == environ.get(LEFT_OUT):
            state = state.rolled_back(UNCOUNTED)
            fault = f"bundle {left_out.version} is left out: {UNCOUNTED}"
        version = None if state.running is None else state.running.version
        merged = config if version is None else folder.merged(config, version)
    except OSError as error:
        fault = f"bundles cannot be read: {folder.path}: {error.strerror}"
        return _Bundled(config, None, fault, fault)
    except ConfigError as error:
        fault = f"bundle {version} is left out: {first_fault(str(error))}"
        return _Bundled(config, None, fault, fault)
    return _Bundled(merged, version, fault or state.sentence, fault)


def _read_overrides(path: Path) -> tuple[Overrides, list[str]]:
    """Read the overrides of a state folder; there are none where it is out of reach.

    They never keep a command from its work: also returns why others are left out.
    """
    try:
        if not path.exists():
            return Overrides(), []
        text = read_file(path, "settings that were changed while the monitor ran")
    except OSError:
        return Overrides(), []
    except ConfigError as error:
        return Overrides(), [str(error)]
    return parse_overrides(text, str(path))


def with_options(
    config: Config,
    *,
    inputs: Sequence[str] = (),
    model: Path | None = None,
    compute_device: str | None = None,
) -> Config:
    """Replace settings of the file by those of the command line.

    `inputs` replace all sources of the file.

    Raises:
        UsageError: An input has none of the known forms, or two have one port.
    """
    chosen: dict[str, object] = {}
    if model is not None:
        chosen["file"] = str(model)
    if compute_device is not None:
        chosen["compute_device"] = compute_device
    update: dict[str, object] = {"model": config.model.model_copy(update=chosen)}
    if model is not None:
        update["models"] = None
    if inputs:
        update["sources"] = _sources(inputs)
    return config.model_copy(update=update)


def _sources(inputs: Sequence[str]) -> tuple[SourceSettings, ...]:
    """Name each input after its kind: mic, demo, mic-2 for a second microphone."""
    sources: list[SourceSettings] = []
    for spec in inputs:
        kind = spec.partition(":")[0]
        count = sum(source.input.startswith(f"{kind}:") for source in sources)
        name = kind if count == 0 else f"{kind}-{count + 1}"
        data = {"name": name, "input": spec}
        sources.append(check_settings(SourceSettings, data, "--input"))
    try:
        check_ports(sources)
    except ValueError as error:
        raise UsageError(f"--input: {error}") from None
    return tuple(sources)
