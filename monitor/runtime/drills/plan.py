"""The private monitor of a drill, and its configuration, derived from the user's."""

import contextlib
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import ModelFileError, UsageError
from monitor.model.card import read_card
from monitor.model.catalogue import known_labels
from monitor.runtime.drills.endpoint import Endpoint
from monitor.runtime.drills.monitor_process import MonitorProcess
from monitor.runtime.loading import choose_models

DETECT_SECONDS = 60.0
"""Longest time until something is detected, and reported."""

DELIVER_SECONDS = 120.0
"""Longest time until alerts that waited are delivered."""

RING_SECONDS = 5.0
"""The minimum, so that the ring overflows soon."""

NOISE_BURSTS = shlex.join([sys.executable, "-m", "monitor.runtime.drills.noise_bursts"])

ENDPOINT = "drill/webhook"
"""Endpoint of all alerts of `write_noise_config`."""

_LIVE = ("mic", "command")

# Any score for noise begins an event: a drill tests the handling of events, and must
# work with every model and every rule.
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
class DrillPlan:
    """The input of the drills."""

    config: Config
    """The user's configuration."""

    source: SourceSettings | None
    """The source to unplug, if there is one."""


def plan_drills(
    config: Config, chosen: SourceSettings | None, *, needs_source: bool
) -> DrillPlan:
    """Choose the source to unplug: `chosen`, else the first live source of `config`.

    Raises:
        UsageError: A live source is needed, and there is none.
    """
    if chosen is None:
        live = [each for each in config.sources if _kind(each) in _LIVE]
        if not live and needs_source:
            raise UsageError(
                "no source of the configuration is live; name one, for example "
                "--input mic:default or --input demo:"
            )
        return DrillPlan(config, live[0] if live else None)
    if _kind(chosen) == "demo":
        # The demo has no process that could be killed; a program plays noise instead.
        program = {"input": f"command:{NOISE_BURSTS}", "sample_format": "s16le"}
        chosen = chosen.model_copy(update=program)
    if _kind(chosen) not in _LIVE:
        raise UsageError(
            f"--input {chosen.input}: the drill unplugs microphones and programs; use "
            "mic:, command: or demo:"
        )
    return DrillPlan(config, chosen)


def write_source_config(plan: DrillPlan, folder: Path) -> Path:
    """Write a configuration with the source to unplug, and no alerts."""
    assert plan.source is not None, "plan_drills has found one"
    (source,) = _without_taught(
        plan.config.model_copy(update={"sources": (plan.source,)})
    ).sources
    return _write(_without_taught(plan.config), folder, source, {})


def write_noise_config(plan: DrillPlan, folder: Path, url: str) -> Path:
    """Write a configuration with noise bursts, all of whose events go to `url`.

    Raises:
        ModelFileError: The model is invalid.
    """
    config = _without_taught(plan.config)
    hop_frames = config.detection.hop_frames
    source = SourceSettings(name="noise", input=f"command:{NOISE_BURSTS}")
    labels = choose_models(config.model_copy(update={"sources": (source,)})).names
    rule = ENDPOINT.partition("/")[0]
    webhook = {"url": url, "connect_seconds": 1.0, "total_seconds": 2.0}
    return _write(
        config,
        folder,
        source,
        {
            "ring_seconds": RING_SECONDS,
            "detection": {
                "hop_frames": hop_frames,
                "level_gate_dbfs": _GATE_DBFS,
                "labels": {label: {**_ANY_SOUND} for label in labels},
            },
            "alerts": [{"name": rule, "on": ["onset", "end"], "webhook": webhook}],
        },
    )


@contextlib.contextmanager
def noise_monitor(
    plan: DrillPlan, folder: Path, endpoint: Endpoint, **options: Any
) -> Iterator[MonitorProcess]:
    """Run a monitor of `write_noise_config`, which is ready; see `MonitorProcess`.

    Raises:
        DrillError: It does not become ready.
    """
    config = write_noise_config(plan, folder, endpoint.url)
    with MonitorProcess(folder, ["--config", config], **options) as monitor:
        monitor.wait_until_ready()
        yield monitor


def _without_taught(config: Config) -> Config:
    """Leave out the labels that were taught: the drill has a state folder of its own.

    A model file that cannot be used is left to the monitor of the drill.
    """
    try:
        cards = [read_card(file).card for file in config.model_files]
    except ModelFileError:
        return config
    known = {label for card in cards for label in known_labels(card)}

    def kept(labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return tuple(it for it in labels or () if it in known) or None

    sources = tuple(
        each.model_copy(update={"labels": kept(each.labels)}) for each in config.sources
    )
    rules = {it: own for it, own in config.detection.labels.items() if it in known}
    update = {
        "labels": kept(config.labels),
        "sources": sources,
        "detection": config.detection.model_copy(update={"labels": rules}),
    }
    return config.model_copy(update=update)


_TAKEN = {"model", "models", "labels", "detection"}


def _write(
    config: Config, folder: Path, source: SourceSettings, more: Mapping[str, Any]
) -> Path:
    """Write a configuration without any endpoint but that of the drill."""
    taken = config.model_dump(mode="json", include=_TAKEN)
    document = {
        **taken,
        "sources": [source.model_dump(mode="json")],
        "status": {"socket": "status.sock"},
        "canary": {"every_seconds": None},
        **more,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _kind(source: SourceSettings) -> str:
    return source.input.partition(":")[0]
