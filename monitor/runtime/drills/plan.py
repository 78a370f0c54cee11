"""The private configuration of a drill, made from the user's."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import UsageError
from monitor.model.card import read_card

RING_SECONDS = 5.0
"""As short as can be: what is to overflow does so soon."""

STREET = shlex.join([sys.executable, "-m", "monitor.runtime.drills.noise_bursts"])

_LIVE = ("mic", "command")

# Whatever the network makes of noise, it is an event: a drill is about what becomes of
# events, and must work with every model and every rule.
_ANY_SOUND = {
    "preset": "impulsive",
    "onset_threshold": 1e-6,
    "offset_threshold": 1e-6,
    "smoothing_hops": 1,
    "min_duration_on_seconds": 0.0,
    "min_duration_off_seconds": 1.0,
    "refractory_seconds": 0.0,
    "margin": 0.0,
}
_GATE_DBFS = -50.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the drills are held with."""

    config: Config
    """The user's."""

    source: SourceSettings | None
    """What is unplugged; None: nothing can be."""


def plan_drills(
    config: Config, chosen: SourceSettings | None, *, needs_source: bool
) -> Plan:
    """Choose what is unplugged: `chosen`, else the first live source of `config`.

    Raises:
        UsageError: A live source is needed, and there is none.
    """
    if chosen is None:
        live = [each for each in config.sources if _kind(each) in _LIVE]
        if not live and needs_source:
            raise UsageError(
                "no source of the configuration is live; give one, as "
                "--input mic:default or --input demo:"
            )
        return Plan(config, live[0] if live else None)
    if _kind(chosen) == "demo":
        # A recording has no process that could be killed: the same, from a program.
        street = {"input": f"command:{STREET}", "sample_format": "s16le"}
        chosen = chosen.model_copy(update=street)
    if _kind(chosen) not in _LIVE:
        raise UsageError(
            f"--input {chosen.input}: a recording cannot be unplugged; take mic:, "
            "command: or demo:"
        )
    return Plan(config, chosen)


def microphone_config(plan: Plan, state_dir: Path) -> str:
    """The source that is unplugged, and nobody who is told."""
    assert plan.source is not None, "it was planned for"
    return _document(plan.config, state_dir, plan.source, {})


def street_config(plan: Plan, state_dir: Path, url: str) -> str:
    """The street of the drills, all of whose sounds are told to `url`.

    Raises:
        ModelFileError: The model cannot be used.
    """
    labels = read_card(plan.config.model.file).card.labels
    hop_frames = plan.config.detection.hop_frames
    street = SourceSettings(name="street", input=f"command:{STREET}")
    webhook = {"url": url, "connect_seconds": 1.0, "total_seconds": 2.0}
    return _document(
        plan.config,
        state_dir,
        street,
        {
            "ring_seconds": RING_SECONDS,
            "detection": {
                "hop_frames": hop_frames,
                "level_gate_dbfs": _GATE_DBFS,
                "labels": {label: {**_ANY_SOUND} for label in labels},
            },
            "alerts": [{"name": "drill", "on": ["onset", "end"], "webhook": webhook}],
        },
    )


def _document(
    config: Config,
    state_dir: Path,
    source: SourceSettings,
    more: Mapping[str, Any],
) -> str:
    """A configuration with nothing in it that reaches anybody else."""
    taken = config.model_dump(mode="json", include={"model", "detection"})
    return yaml.safe_dump(
        {
            **taken,
            "state_dir": str(state_dir),
            "sources": [source.model_dump(mode="json")],
            "status": {"socket": "status.sock"},
            "canary": {"every_seconds": None},
            **more,
        }
    )


def _kind(source: SourceSettings) -> str:
    return source.input.partition(":")[0]
