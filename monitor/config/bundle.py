"""The settings that a bundle may bring, and how they replace those of a monitor.

A bundle brings how sounds are detected, never what is listened to, stored or sent: it
has no place for a path, an address, a secret or a program.  Nothing here opens a file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from monitor.config.audio import CanarySettings, HealthSettings, LevelSettings
from monitor.config.base import Settings, Text
from monitor.config.config import Config
from monitor.config.detection import DetectionSettings
from monitor.config.load import check_settings

BUNDLES = "rollout"
"""Folder of the bundles, in state_dir."""

BUNDLE_STATE = "state.json"
"""The file in it that says which one is used."""

OWN_MODEL = "bundle"
"""Name of the model that is in the bundle."""

BundleModel = Literal["urban", "world", "bundle"]


class BundleSettings(Settings):
    """The settings of a bundle; what it does not name stays as each monitor has it."""

    model: BundleModel | None = None
    """urban or world, which every monitor has, or bundle, the model in the bundle."""

    models: Annotated[tuple[BundleModel, ...], Field(strict=False)] | None = None
    """The same for several that listen together."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] | None = None
    detection: DetectionSettings = DetectionSettings()
    level: LevelSettings = LevelSettings()
    health: HealthSettings = HealthSettings()
    canary: CanarySettings = CanarySettings()

    @property
    def uses_own_model(self) -> bool:
        """Whether the model in the bundle is named."""
        return OWN_MODEL in (self.model, *(self.models or ()))

    @model_validator(mode="after")
    def _model_is_named_once(self) -> "BundleSettings":
        if self.model is not None and self.models is not None:
            raise ValueError("model and models both name models; remove one of them")
        return self


def merge_bundle(
    config: Config, bundle: BundleSettings, model: Path | None, origin: str
) -> Config:
    """Return the configuration of a monitor with the settings of a bundle.

    Each key that the bundle names replaces that of the monitor; of `detection.labels`,
    each label that it names.

    Args:
        config: The configuration of the monitor.
        bundle: The settings of the bundle.
        model: The model file of the bundle.
        origin: Name of the bundle, for messages.

    Raises:
        ConfigError: Both together break a rule; a sentence in a line for each fault.
    """
    update: dict[str, Any] = {}
    for name in ("detection", "level", "health", "canary"):
        before, wanted = getattr(config, name), getattr(bundle, name)
        changes = {key: getattr(wanted, key) for key in wanted.model_fields_set}
        if "labels" in changes:
            changes["labels"] = {**before.labels, **changes["labels"]}
        update[name] = before.model_copy(update=changes)
    if bundle.labels is not None:
        update["labels"] = bundle.labels
    if bundle.model is not None or bundle.models is not None:
        one, several = bundle.model, bundle.models
        file = None if one is None else _file(one, model)
        update["model"] = config.model.model_copy(update={"file": file})
        update["models"] = several and tuple(_file(it, model) for it in several)
    sections = {name: getattr(config, name) for name in type(config).model_fields}
    return check_settings(Config, {**sections, **update}, origin)


def _file(name: BundleModel, model: Path | None) -> str:
    if name != OWN_MODEL:
        return name
    assert model is not None, "a bundle that names its model has one"
    return str(model)
