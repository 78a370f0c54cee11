"""Overrides: settings that were changed while the monitor ran, in a file of their own.

They replace those of the configuration at each start and reload.  Nothing here opens a
file.
"""

from collections.abc import Callable, Iterator

from pydantic import Field

from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.config.detection import LabelSettings, Sensitivity
from monitor.errors import ConfigError

OVERRIDES = "overrides.yaml"
"""The file, in state_dir."""

HEADER = """\
# Written by the running monitor: settings that replace those of the configuration.
# Without this file, or a line of it, those of the configuration hold again.
"""


class LabelOverrides(Settings):
    """Settings of one label."""

    sensitivity: Sensitivity
    """Sensitivity of this label."""


class DetectionOverrides(Settings):
    """Settings of the detection."""

    sensitivity: Sensitivity | None = None
    """Sensitivity of all labels; null: that of the configuration."""

    labels: dict[str, LabelOverrides] = Field(default_factory=dict)
    """Settings of individual labels, by name."""


class Overrides(Settings):
    """All overrides."""

    detection: DetectionOverrides = DetectionOverrides()

    def __bool__(self) -> bool:
        """Return True if there are any."""
        return self != Overrides()

    @property
    def sentence(self) -> str:
        """The settings in one phrase, for people; empty: there are none."""
        common, labels = self.detection.sensitivity, self.detection.labels
        parts = [] if common is None else [f"sensitivity {common:g}"]
        parts += [f"{it} {own.sensitivity:g}" for it, own in sorted(labels.items())]
        if labels and common is None:
            parts[0] = f"sensitivity of {parts[0]}"
        return ", ".join(parts)

    @property
    def each(self) -> Iterator[tuple[str | None, float]]:
        """Each label with its sensitivity; at last None with the common one."""
        for label, own in self.detection.labels.items():
            yield label, own.sensitivity
        if self.detection.sensitivity is not None:
            yield None, self.detection.sensitivity

    def fitting(
        self, check: Callable[["Overrides"], object]
    ) -> tuple["Overrides", list[str]]:
        """Leave out those for which `check` raises a `ConfigError`, and say why."""
        kept, faults = Overrides(), []
        for label, value in self.each:
            wanted = kept.with_sensitivity(label, value)
            try:
                check(wanted)
            except ConfigError as error:
                faults.append(str(error))
            else:
                kept = wanted
        return kept, faults

    def with_sensitivity(self, label: str | None, value: float | None) -> "Overrides":
        """Return them with another sensitivity; label None: the common one.

        Without a value, that of the configuration holds again.
        """
        before = self.detection
        if label is None:
            detection = before.model_copy(update={"sensitivity": value})
        else:
            labels = {it: own for it, own in before.labels.items() if it != label}
            if value is not None:
                labels[label] = LabelOverrides(sensitivity=value)
            detection = before.model_copy(update={"labels": labels})
        return Overrides(detection=detection)


def merge(config: Config, overrides: Overrides) -> Config:
    """Return the configuration with the overrides.

    Raises:
        ConfigError: One contradicts another setting of the configuration.
    """
    detection, wanted = config.detection, overrides.detection
    labels = dict(detection.labels)
    for label, own in wanted.labels.items():
        before = labels.get(label, LabelSettings())
        if before.onset_threshold is not None:
            raise ConfigError(
                f"detection.labels.{label}.sensitivity: {own.sensitivity:g} sets the "
                f"same threshold as onset_threshold: {before.onset_threshold:g} of the "
                "configuration; remove one of them"
            )
        labels[label] = before.model_copy(update={"sensitivity": own.sensitivity})
    update: dict[str, object] = {"labels": labels}
    if wanted.sensitivity is not None:
        update["sensitivity"] = wanted.sensitivity
    return config.model_copy(update={"detection": detection.model_copy(update=update)})
