"""The recipe of each network preset, and how it is merged with what a user sets."""

from pathlib import Path
from typing import Any

from monitor.config.load import check_settings
from monitor.config.strict_yaml import read_yaml
from monitor.errors import ConfigError
from monitor.model.networks.mn04 import SPEC
from training.config import INCLUDED_MODEL, NOT_PRETRAINED, TrainingSettings

RECIPES: dict[str, dict[str, Any]] = {
    # As in the article: one clip a window, shifted in time and masked.
    "article": {
        "optimiser": {"epochs": 30, "batch_size": 16},
        "mixtures": {"microphone_noise": 0.3},
    },
    # A teacher's trunk that continues to learn from it, on mixtures of all kinds.
    "mobile": {
        # Measured rates stay below the budget: some recordings set no threshold.
        "false_alarms_per_hour": 1.0,
        "optimiser": {
            "epochs": 4,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "head_rate_factor": 3.0,
            "weight_decay": 0.02,
            "warm_up_share": 0.15,
            "column_weight": 0.5,
        },
        "mixtures": {
            "ambience_items": 0.3,
            "over_ambience": 0.35,
            "partial": 0.4,
            "two_sources": 0.25,
            "speed_share": 0.6,
            "filter_share": 0.7,
        },
        "features": {
            "roll": True,
            "gain_db": 6.0,
            "filter_db": 2.5,
            "mix_share": 0.3,
            "mask_share": 0.3,
            "frequency_mask_bands": 8,
            "time_mask_frames": 40,
        },
    },
}


# Its own front end, and heads of its own.
RECIPES["mn04"] = {
    **RECIPES["mobile"],
    "spec": SPEC.model_dump(exclude_none=True),
}

_PRESETS = {NOT_PRETRAINED: "article", "world": "mn04"}
"""Of the models that `PretrainedSettings.model` names; of others it is mobile."""

PRETRAINED_RECIPE: dict[str, Any] = {
    # Few clips make few steps of an epoch, and the heads are new.
    "optimiser": {"epochs": 20, "learning_rate": 3e-4, "head_rate_factor": 10.0},
}
"""Over the recipe of the preset, where training begins with a model."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a settings file: any of the keys of train.yaml.

    Raises:
        ConfigError: The file cannot be read, or is not YAML of keys and values.
    """
    try:
        data = read_yaml(path.read_text(encoding="utf-8"), str(path)).data
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--settings: {path} cannot be read ({error})") from None
    # A section whose keys are all commented out is null.
    return {key: value for key, value in data.items() if value is not None}


def beginning(
    given: dict[str, Any],
    preset: str | None,
    model: str | None,
    *,
    has_teacher: bool,
) -> dict[str, Any]:
    """Choose what training begins with, and the network for it.

    Args:
        given: Keys of a settings file.
        preset: Of the command line; None: not given.
        model: `PretrainedSettings.model` of the command line; None: not given.
        has_teacher: A teacher gives the first weights.

    Returns:
        Keys of settings, over those of the file.
    """
    preset = preset or given.get("preset")
    if model is None and isinstance(given.get("pretrained"), dict):
        model = given["pretrained"].get("model")
    if model is None:
        is_new = has_teacher or preset == "article" or "spec" in given
        model = NOT_PRETRAINED if is_new else INCLUDED_MODEL
    if preset is None:
        preset = _PRESETS.get(model, "mobile")
    return {"preset": preset, "pretrained": {"model": model}}


def training_settings(*layers: dict[str, Any], origin: str) -> TrainingSettings:
    """Merge layers of keys, later ones first, over the recipe of the preset.

    `layers` are nested dictionaries, such as a settings file and the options of the
    command line; `origin` names them in messages.

    Raises:
        ConfigError: A key is unknown or a value breaks its rule.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        given = _merge(given, layer)
    preset = given.get("preset", "article")
    recipe = RECIPES.get(preset, {}) if isinstance(preset, str) else {}
    pretrained = given.get("pretrained")
    if (
        isinstance(pretrained, dict)
        and pretrained.get("model", NOT_PRETRAINED) != NOT_PRETRAINED
    ):
        recipe = _merge(recipe, PRETRAINED_RECIPE)
    merged = _tuples(_merge(recipe, given))
    return check_settings(TrainingSettings, merged, origin)


def _tuples(value: Any) -> Any:
    """Replace the lists of YAML by the tuples of the settings."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged
