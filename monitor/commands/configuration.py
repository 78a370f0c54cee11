"""The configuration of a command: the settings of its file, checked."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from monitor.commands.configuration_file import (
    SYSTEM_FILE,
    find_file,
    find_state_dir,
    read_file,
    text_digest,
)
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.load import check_settings, parse_config, parse_settings
from monitor.config.overrides import OVERRIDES, Overrides, merge
from monitor.config.strict_yaml import read_yaml
from monitor.errors import ConfigError

OPTIONS = "SOUND_MONITOR_RUN_OPTIONS"
"""Variable in which `run --web` gives its page the arguments of `with_options`, as
JSON: the page, and the commands that it starts, are of the same sources and model."""


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
        if not self.overrides:
            return ""
        return f"overrides: {self.overrides.sentence} ({self.state_dir / OVERRIDES})"

    def placed(self, sentences: str) -> str:
        """Prefix sentences about settings with file and line of their keys.

        Sentences that do not begin with a key of a file stay as they are.
        """
        documents = {}
        files = (self.state_dir / OVERRIDES if self.overrides else None, self.path)
        for path in filter(None, files):
            with suppress(ConfigError):  # the file has changed since
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
    overrides = _read_overrides(state_dir / OVERRIDES)
    found = Configuration(config, state_dir, path, reason, digest, overrides)
    with found.placing():
        config = merge(config, overrides)
        if options := environ.get(OPTIONS):
            config = with_options(config, **json.loads(options))
        return replace(found, config=config)


def _read_overrides(path: Path) -> Overrides:
    """Read the overrides of a state folder; there are none where it is out of reach.

    Raises:
        ConfigError: They are invalid.
    """
    try:
        if not path.exists():
            return Overrides()
    except OSError:
        return Overrides()
    text = read_file(path, "settings that were changed while the monitor ran")
    return parse_settings(Overrides, text, str(path))


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
        ConfigError: An input is not a mic:, file:, command: or demo: input.
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
    return tuple(sources)
