"""A real monitor whose sources follow orders to fail, and the cost of each fault."""

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

from monitor.model.trained import save_model
from tests.support import faulty_source
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import Endpoint, running_endpoint
from tests.support.models import seeded_model
from tests.support.signals import noise

CYCLE_SECONDS = 8.0
LOUD_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
"""Generous: the machine may be busy."""

DEVICE = (16_000, 1)
"""Rate and channels of a source at the start."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A line of the table of faults."""

    drill: str
    recovered_seconds: float | None = None
    """Until sound is captured again; None: nothing stopped, or it was not measured."""

    lost_seconds: float | None = None
    """Of sound; None: not measured."""

    lost_alerts: int | None = None
    """None: there were no alerts in this drill."""


class FaultMonitor:
    """A monitor, a faulty source for each name, and an endpoint for the alerts."""

    def __init__(
        self, folder: Path, monitor: RunningMonitor, endpoint: Endpoint
    ) -> None:
        self.folder = folder
        self.monitor = monitor
        self.endpoint = endpoint

    def order(self, source: str, order: str) -> float:
        """Order a source to fail; return the time of day, in seconds."""
        path = self.folder / source / "order"
        written = path.with_suffix(".new")
        written.write_text(order)
        moment = datetime.now().timestamp()
        written.rename(path)
        return moment

    def records(self, kind: str, source: str | None = None) -> list[Record]:
        """Return the records of the event log."""
        found = self.monitor.records(kind)
        return [each for each in found if source in (None, each["source"])]

    def wait_for_sound(self, sources: Iterable[str], after: float = 0.0) -> None:
        """Wait for an onset of each source that began after a time of day."""
        for source in sources:
            self.monitor.wait_until(
                lambda _, name=source: any(
                    seconds(each["start"]) > after
                    for each in self.records("onset", name)
                ),
                PATIENCE_SECONDS,
            )

    def wait(self, duration: float) -> None:
        """Let the monitor run for some time."""
        until = monotonic() + duration
        self.monitor.wait_until(lambda _: monotonic() >= until, duration + 60)

    def lost_alerts(self, source: str | None = None) -> int:
        """Count the onsets and ends in the log that never reached the endpoint."""
        wanted = {
            (record["id"], kind)
            for name, kind in (("onset", "onset"), ("event", "end"))
            for record in self.records(name, source)
        }
        deadline = monotonic() + 30
        while (left := wanted - self._arrived()) and monotonic() < deadline:
            sleep(0.1)
        return len(left)

    def lost_seconds(self) -> float:
        """Return the seconds of sound that all sources have lost so far."""
        gaps = self.records("gap")
        return sum(gap["end_seconds"] - gap["start_seconds"] for gap in gaps)

    def figure(self, drill: str, source: str, since: float) -> Figure:
        """Return the cost of a fault of `source` at the time of day `since`."""
        gaps = [g for g in self.records("gap", source) if seconds(g["end"]) > since]
        recovered = max((seconds(gap["end"]) - since for gap in gaps), default=0.0)
        lost = sum(gap["end_seconds"] - gap["start_seconds"] for gap in gaps)
        return Figure(drill, recovered, lost, self.lost_alerts(source))

    def _arrived(self) -> set[tuple[str, str]]:
        bodies = [json.loads(request.body) for request in list(self.endpoint.requests)]
        return {(body["event_id"], body["kind"]) for body in bodies}


def seconds(moment: str) -> float:
    """Return the time of day of a record, in seconds."""
    return datetime.fromisoformat(moment).timestamp()


@contextmanager
def running_fault_monitor(
    folder: Path, sources: Iterable[str]
) -> Iterator[FaultMonitor]:
    """Run a monitor of faulty `sources`."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(running_endpoint())
        config = configure(folder, sources, endpoint.url)
        monitor = stack.enter_context(RunningMonitor(folder, "--config", str(config)))
        yield FaultMonitor(folder, monitor, endpoint)


def configure(folder: Path, sources: Iterable[str], url: str) -> Path:
    """Write sources, model and configuration into `folder`."""
    save_model(folder / "model.safetensors", seeded_model())
    inputs = []
    for source in sources:
        home = folder / source
        home.mkdir()
        write_sounds(home, DEVICE)
        (home / "device").write_text(f"{DEVICE[0]} {DEVICE[1]}")
        command = [sys.executable, "-I", "-S", faulty_source.__file__, str(home)]
        inputs.append({"name": source, "input": f"command:{shlex.join(command)}"})
    labels = seeded_model().card.labels
    # An untrained network detects every label in anything louder than the gate.
    lively = {
        "preset": "impulsive",
        "onset_threshold": 0.3,
        "offset_threshold": 0.2,
        "min_duration_off_seconds": 0,
        "refractory_seconds": 0,
    }
    config = {
        "sources": inputs,
        "model": {"file": str(folder / "model.safetensors"), "compute_device": "cpu"},
        "detection": {"labels": dict.fromkeys(labels, lively)},
        "canary": {"every_seconds": None},
        "alerts": [{"name": "all", "on": ["onset", "end"], "webhook": {"url": url}}],
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def write_sounds(home: Path, device: tuple[int, int]) -> None:
    """Write the sound of a source: noise, loud for some seconds of each cycle."""
    rate, channels = device
    samples = noise(CYCLE_SECONDS, 0.2, rate, channels)
    samples[:, round(LOUD_SECONDS * rate) :] *= 1e-4
    path = home / f"sound.{rate}.{channels}"
    path.write_bytes(np.ascontiguousarray(samples.T).tobytes())
