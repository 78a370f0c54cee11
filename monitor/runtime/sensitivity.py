"""Change of a sensitivity while the monitor runs: checked, then written for good."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from monitor.config.config import Config
from monitor.config.load import parse_overrides
from monitor.config.overrides import HEADER, OVERRIDES, Overrides, merge
from monitor.config.strict_yaml import MOST_BYTES
from monitor.detection.rules import resolve_rules
from monitor.errors import SoundMonitorError, StoreUnavailableError
from monitor.private_files import read_regular, write_private
from monitor.runtime.loading import choose_models

if TYPE_CHECKING:
    from monitor.runtime.reload import FreshConfig


def change_sensitivity(
    fresh: "FreshConfig", label: str | None, value: float | None
) -> Overrides:
    """Write another sensitivity into the overrides; the next reload takes it.

    Others that do not fit now stay, for they may fit again; invalid ones go.

    Args:
        fresh: The configuration as it is now, with the overrides that fit it.
        label: None: the common sensitivity.
        value: None: that of the configuration.

    Raises:
        SoundMonitorError: The model or the configuration does not admit it, or it
            cannot be written; nothing was changed.
    """
    path = fresh.state_dir / OVERRIDES
    try:
        text = ""
        if path.exists():
            text = read_regular(path, MOST_BYTES).decode("utf-8")
        overrides, _ = parse_overrides(text, str(path))
        changed = overrides.with_sensitivity(label, value)
        if value is not None:
            wanted = Overrides().with_sensitivity(label, value)
            _check(fresh, wanted, label)
        if changed:
            data = changed.model_dump(mode="json", exclude_defaults=True)
            write_private(path, HEADER + yaml.safe_dump(data, allow_unicode=True))
        else:
            path.unlink(missing_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreUnavailableError(f"{path}: cannot be changed: {reason}") from None
    return changed


def rules_check(config: Config, state_dir: Path) -> Callable[[Overrides], None]:
    """Return a check of overrides: a `ConfigError` if the models do not admit them.

    Raises:
        SoundMonitorError: The configuration is impossible without any.
    """
    models = choose_models(config, state_dir)

    def check(overrides: Overrides) -> None:
        resolve_rules(
            models.names,
            merge(config, overrides).detection,
            models.thresholds,
            models.leader.spec,
            models.presets,
            models.known,
        )

    check(Overrides())
    return check


def _check(fresh: "FreshConfig", wanted: Overrides, label: str | None) -> None:
    """Check a new override, and that its label is reported."""
    rules_check(fresh.config, fresh.state_dir)(wanted)
    models = choose_models(fresh.config, fresh.state_dir)
    if label is not None and label not in models.labels.all_reported:
        raise SoundMonitorError(
            f"{label!r:.80} is none of the labels that are reported"
        )
