"""The real monitor takes bundles from a server, and gets rid of those that harm it."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.status_client import query_status
from tests.integration.test_canary import QUIET
from tests.support import ROOT
from tests.support.bundles import OTHER_KEY, BundleServer, made, public
from tests.support.daemon import RunningMonitor
from tests.support.source_programs import program

SECONDS = 90.0
URBAN = ROOT / "monitor" / "model" / "weights" / "urban.safetensors"
NEVER = {"labels": {"siren": {"onset_threshold": 0.9999}}}


class Fleet:
    """A monitor, and the server of its bundles."""

    def __init__(self, folder: Path, server: BundleServer, url: str) -> None:
        self.folder, self.server = folder, server
        self.rollout = {
            "url": url,
            "public_keys": [public()],
            "every_seconds": 1,
            "watch_seconds": 3600,
        }
        self.settings: dict[str, Any] = {
            "sources": [{"name": "yard", "input": f"command:{program(QUIET)}"}],
            "status": {"socket": "status.sock"},
        }

    @contextmanager
    def running(self, **changes: Any) -> Iterator[RunningMonitor]:
        path = self.folder / "config.yaml"
        rollout = {**self.rollout, **changes}
        path.write_text(json.dumps({**self.settings, "rollout": rollout}))
        with RunningMonitor(self.folder, "--config", str(path)) as monitor:
            self.monitor = monitor
            yield monitor

    def offer(self, version: int, settings: dict[str, Any], model: bytes = b"") -> None:
        path = made(self.folder / "offered", version, settings, model)
        self.server.content = path.read_bytes()

    @property
    def status(self) -> dict[str, Any]:
        return query_status([self.monitor.state_dir / "status.sock"])

    def wait(self, version: int | None, *, on_trial: bool = False) -> None:
        def holds(_: RunningMonitor) -> bool:
            status = self.status
            rollout = status.get("rollout")  # none during the start, or a reload
            return rollout is not None and (status["bundle"], rollout["on_trial"]) == (
                version and str(version),
                on_trial,
            )

        self.monitor.wait_until(holds, SECONDS)

    def wait_for_log(self, sentence: str) -> None:
        self.monitor.wait_until(lambda it: sentence in it.log, SECONDS)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    server = BundleServer()
    with server.serving() as url:
        yield Fleet(tmp_path, server, url)


def test_a_bundle_arrives_is_loaded_and_kept(fleet: Fleet) -> None:
    settings = {"detection": {"sensitivity": 0.7}, "model": "bundle"}
    with fleet.running(watch_seconds=1) as monitor:
        fleet.offer(3, settings, URBAN.read_bytes())
        fleet.wait(3)
        assert "settings changed: detection.sensitivity, model" in monitor.log.replace(
            "model, ", ""
        )
        reload = fleet.status["reload"]
        assert monitor.stop()[0] == 0
    assert reload["outcome"] == "taken"
    assert monitor.records("gap") == []
    assert [it for it in monitor.records("health") if it["kind"] == "rollout"] == []


@pytest.mark.slow
def test_a_reload_without_the_key_leaves_the_bundle_for_one_of_the_same_number(
    fleet: Fleet,
) -> None:
    fleet.offer(13, {"detection": {"sensitivity": 0.6}})
    with fleet.running(watch_seconds=1) as monitor:
        fleet.wait(13)
        path = fleet.folder / "config.yaml"
        path.write_text(path.read_text().replace(public(), public(OTHER_KEY)))
        monitor.process.send_signal(signal.SIGHUP)
        fleet.wait(None)
        monitor.wait_until(lambda _: "its key is no" in str(fleet.status), SECONDS)
        settings = {"detection": {"sensitivity": 0.7}}
        offered = made(fleet.folder / "offered", 13, settings, key=OTHER_KEY)
        fleet.server.content = offered.read_bytes()
        fleet.wait(13)
        monitor.wait_until(lambda _: "its key is no" not in str(fleet.status), SECONDS)
        assert monitor.stop()[0] == 0


@pytest.mark.slow
def test_a_bundle_with_which_the_self_test_fails_is_rolled_back(fleet: Fleet) -> None:
    fleet.offer(1, {"detection": {"sensitivity": 0.6}})
    with fleet.running(watch_seconds=1):
        fleet.wait(1)
        assert fleet.monitor.stop()[0] == 0
    with fleet.running() as monitor:
        fleet.wait(1)
        fleet.offer(2, {"detection": NEVER, "canary": {"label": "siren"}})
        fleet.wait(2, on_trial=True)
        fleet.wait(1)
        fleet.monitor.wait_until(
            lambda _: fleet.status["reload"]["detail"].startswith("thresholds"), SECONDS
        )
        (bad,) = fleet.status["rollout"]["bad"]
        monitor.wait_until(
            lambda it: any(r["kind"] == "rollout" for r in it.records("health")),
            SECONDS,
        )
        assert monitor.stop()[0] == 0
    assert bad["version"] == 2
    assert "yard/canary" in bad["why"]
    assert "bundle 2 is rolled back" in monitor.log


@pytest.mark.slow
def test_a_bundle_on_trial_does_not_survive_two_kills(fleet: Fleet) -> None:
    fleet.offer(1, {"detection": {"sensitivity": 0.6}})
    for _ in range(2):
        with fleet.running() as monitor:
            fleet.wait(1, on_trial=True)
            monitor.process.kill()
            monitor.process.wait()
    with fleet.running() as monitor:
        fleet.wait(None)
        assert "bundle 1 is rolled back: the monitor ended twice" in monitor.log
        monitor.wait_until(lambda it: it.records("health"), SECONDS)
        assert monitor.stop()[0] == 0


@pytest.mark.slow
def test_a_model_that_computes_other_numbers_never_runs(fleet: Fleet) -> None:
    spoiled = bytearray(URBAN.read_bytes())
    # Somewhere in the weights, far behind the header.
    spoiled[-200_000:-100_000] = bytes(100_000)
    with fleet.running() as monitor:
        fleet.offer(1, {"model": "bundle"}, bytes(spoiled))
        fleet.wait_for_log("bundle 1 does not fit here")
        assert fleet.status["bundle"] is None
        assert fleet.status["reload"] is None
        fleet.offer(2, {"detection": {"labels": {"gun_shot": {"smoothing_hops": 100}}}})
        fleet.wait_for_log("bundle 2 does not fit here")
        fleet.offer(3, {"detection": {"labels": {"unicorn": {"margin": 0.1}}}})
        fleet.wait_for_log("bundle 3 does not fit here")
        assert monitor.stop()[0] == 0
