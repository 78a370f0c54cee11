"""A monitor takes new bundles, tries each once, and rolls back what worsens health."""

import gzip
import shutil
from collections.abc import Callable
from itertools import pairwise

import pytest

from monitor.records import HealthKind
from monitor.runtime.bundle_file import MAGIC
from monitor.runtime.rollout_state import BundleFolder, note_start
from tests.support.bundles import OTHER_KEY, BundleServer, signed
from tests.support.rollout import WATCH_SECONDS, Fleet, statistics


def test_a_bundle_is_checked_loaded_watched_and_kept(fleet: Fleet) -> None:
    assert fleet.shown["bundle"] is None
    fleet.tried(1)
    assert (fleet.checked, fleet.reloads) == ([1], 1)
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == ("1", True)
    fleet.step(1.0)
    fleet.step(WATCH_SECONDS - 1)
    assert fleet.shown["on_trial"]
    fleet.step(1.0)
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == ("1", False)
    assert (fleet.shown["bad"], fleet.reloads, fleet.health) == ([], 1, [])


def test_an_unchanged_bundle_is_fetched_once(fleet: Fleet) -> None:
    fleet.tried(1)
    fleet.step(1.0)
    fleet.step(WATCH_SECONDS)
    for _ in range(3):
        fleet.step()
    assert fleet.server.answers == [200, 200, 304, 304]
    assert fleet.checked == [1]


@pytest.mark.parametrize("kind", ["overload", "deaf", "canary", "compute-device"])
def test_a_new_problem_rolls_back_for_ever(fleet: Fleet, kind: HealthKind) -> None:
    fleet.tried(1)
    fleet.step(1.0)
    fleet.step(WATCH_SECONDS)
    fleet.tried(2)
    fleet.step(1.0)
    fleet.see((kind, "yard"))
    fleet.step(1.0)
    assert fleet.shown["bundle"] == "1"
    assert fleet.reloads == 3
    (bad,) = fleet.shown["bad"]
    assert bad["version"] == 2
    assert f"yard/{kind}: it is so" in bad["why"]
    ((told, state, detail),) = fleet.health
    assert (told, state) == ("rollout", "raised")
    assert "bundle 2 was rolled back" in detail
    # As a reload does that brings another model.
    fleet.reports.finish("*", lambda _: 0, "reloaded")
    assert [it[:2] for it in fleet.health] == [("rollout", "raised")]
    assert not (fleet.folder.path / "2.json").exists()
    fleet.reloaded()
    fleet.begin()
    fleet.step()
    fleet.offer(2, share=0.5)
    fleet.step()
    assert (fleet.checked, fleet.shown["bundle"]) == ([1, 2], "1")
    fleet.offer(3)
    fleet.step()
    assert (fleet.checked, fleet.shown["bundle"]) == ([1, 2, 3], "3")


def test_problems_of_before_or_of_the_place_roll_nothing_back(fleet: Fleet) -> None:
    fleet.rollout._latest = statistics(("deaf", "gate"))
    fleet.tried(1)
    fleet.step(1.0)
    fleet.see(("deaf", "gate"), ("clipping", "yard"), ("disk", "*"))
    assert fleet.shown["bundle"] == "1"
    fleet.see(("deaf", "yard"))
    assert fleet.shown["bundle"] is None


def test_a_reload_that_is_rejected_rolls_back_without_another(fleet: Fleet) -> None:
    fleet.offer(1)
    fleet.step()
    fleet.step(1.0)
    fleet.reloaded(is_taken=False, detail="too little memory")
    fleet.step(1.0)
    assert fleet.shown["bundle"] is None
    assert "too little memory" in fleet.shown["bad"][0]["why"]
    assert fleet.reloads == 1


def test_a_reload_that_changes_nothing_begins_the_trial(fleet: Fleet) -> None:
    fleet.offer(1)
    fleet.step()
    fleet.step(1.0)
    fleet.reloaded()
    for seconds in (1.0, 1.0, WATCH_SECONDS):
        fleet.step(seconds)
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == ("1", False)


def test_a_reload_of_a_roll_back_is_asked_for_until_it_is_taken(fleet: Fleet) -> None:
    fleet.tried(1)
    fleet.step(1.0)
    fleet.see(("overload", "*"))
    fleet.step(1.0)
    fleet.reloaded(is_taken=False, detail="the disk is full")
    fleet.step(1.0)
    assert fleet.reloads == 2
    fleet.step(70.0)
    assert fleet.reloads == 3


def test_one_restart_is_forgiven_and_the_second_rolls_back(fleet: Fleet) -> None:
    fleet.tried(1)
    note_start(fleet.state_dir)
    fleet.begin()
    assert fleet.shown["on_trial"]
    note_start(fleet.state_dir)
    fleet.begin()
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == (None, False)
    assert "ended twice" in fleet.shown["bad"][0]["why"]
    assert fleet.health[0][:2] == ("rollout", "raised")
    fleet.step()
    assert fleet.checked == [1]


def test_a_trial_whose_restarts_cannot_be_counted_ends(fleet: Fleet) -> None:
    fleet.tried(1)
    (blocked := fleet.folder.path / ".state.json.new").mkdir()  # as a full disk
    (digest,) = note_start(fleet.state_dir).values()
    assert fleet.folder.read().why_bad(fleet.folder.read().running) is None
    fleet.facts.bundle_fault = "bundle 1 is left out"  # as `load` says with it
    fleet.begin()
    fleet.step(1.0)
    assert fleet.shown["bundle"] is None
    assert [it[:2] for it in fleet.health] == [("rollout", "raised")]
    blocked.rmdir()
    fleet.step(1.0)
    (bad,) = fleet.folder.read().bad
    assert (bad.version, bad.digest) == (1, digest)
    assert fleet.folder.read().running is None


def test_restarts_after_the_trial_are_nobody_s_business(fleet: Fleet) -> None:
    fleet.tried(1)
    fleet.step(1.0)
    fleet.step(WATCH_SECONDS)
    for _ in range(5):
        note_start(fleet.state_dir)
    assert fleet.folder.read().running == fleet.folder.read().newest


def refused(fleet: Fleet) -> str:
    fleet.step()
    assert fleet.checked == []
    sentence = fleet.shown["refused"]
    assert sentence is not None
    assert ("rollout", "raised", sentence) in fleet.health
    return str(sentence)


def test_a_bundle_of_another_key_is_refused_and_said(fleet: Fleet) -> None:
    fleet.offer(1, key=OTHER_KEY)
    assert "another key" in refused(fleet)
    fleet.offer(1)
    fleet.step()
    assert fleet.shown["refused"] is None
    assert fleet.checked == [1]


def test_an_older_version_is_refused_even_after_a_restart(fleet: Fleet) -> None:
    # This monitor is not in the share of the newer one, and has seen it all the same.
    fleet.offer(5, share=1e-9)
    fleet.step()
    fleet.begin()
    fleet.offer(4)
    assert "5 was seen" in refused(fleet)


def test_another_bundle_of_the_same_version_is_refused(fleet: Fleet) -> None:
    fleet.offer(5, share=1e-9)
    fleet.step()
    fleet.offer(5, {"detection": {"sensitivity": 0.9}})
    assert "another one with version 5" in refused(fleet)


def test_a_larger_share_has_all_monitors_of_a_smaller_one_and_more(
    fleet: Fleet,
) -> None:
    takers: list[set[str]] = [set()]
    for share in (0.2, 0.4, 0.6, 0.8):
        fleet.offer(5, share=share)
        takers.append(set())
        for monitor in map(str, range(30)):
            shutil.rmtree(fleet.folder.path, ignore_errors=True)
            fleet.begin(monitor=monitor)
            fleet.step()
            if fleet.shown["bundle"] == "5":
                takers[-1].add(monitor)
    assert all(less < more for less, more in pairwise(takers))
    assert len(takers[-1]) < 30


def test_the_share_of_a_version_may_grow(fleet: Fleet) -> None:
    fleet.offer(5, share=1e-9)
    fleet.step()
    assert (fleet.shown["newest"], fleet.checked) == (5, [])
    assert fleet.shown["waiting"] == "bundle 5 is offered, not to this monitor yet"
    fleet.offer(5, share=1.0)
    fleet.step()
    assert fleet.shown["bundle"] == "5"


def test_a_bundle_that_does_not_fit_is_checked_once_a_start(fleet: Fleet) -> None:
    fleet.problems = "detection.labels.siren: it can never fire"
    fleet.server.code = 200
    fleet.offer(1)
    fleet.step()
    fleet.step()
    assert fleet.checked == [1]
    assert "it can never fire" in fleet.shown["refused"]
    assert not (fleet.folder.path / "1.json").exists()
    fleet.problems = ""
    fleet.begin()
    fleet.step()
    assert (fleet.checked, fleet.shown["bundle"]) == ([1, 1], "1")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda server: setattr(server, "code", 404),
        lambda server: setattr(server, "code", 500),
        lambda server: setattr(server, "content", b"<html>a captive portal</html>"),
        lambda server: setattr(server, "content", MAGIC),
    ],
)
def test_a_broken_server_changes_nothing(
    fleet: Fleet, spoil: Callable[[BundleServer], None]
) -> None:
    fleet.offer(1)
    spoil(fleet.server)
    fleet.step()
    assert fleet.shown["bundle"] is None
    assert fleet.checked == []
    assert list(fleet.folder.path.glob(".download-*")) == []


@pytest.mark.parametrize(("tag", "steps"), [('"\xe9"', 1), ("x" * 70_000, 2)])
def test_an_etag_that_cannot_be_sent_back_costs_no_bundle(
    fleet: Fleet, tag: str, steps: int
) -> None:
    """The second is longer than a line of a request may be: the server refuses it."""
    fleet.server.tag = tag
    fleet.offer(1, share=1e-9)
    fleet.step()
    assert fleet.shown["newest"] == 1
    fleet.server.tag = None
    fleet.offer(2)
    for _ in range(steps):
        fleet.step()
    assert fleet.checked == [2]


def test_what_a_server_sends_is_never_unpacked(fleet: Fleet) -> None:
    fleet.offer(1)
    fleet.server.content = gzip.compress(fleet.server.content)
    fleet.server.headers = {"content-encoding": "gzip"}
    assert "not a bundle" in refused(fleet)


def test_a_download_ends_at_the_limit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.runtime.bundle_download.MOST_BYTES", 2**20)
    fleet.server.content = bytes(2**20 + 1)
    assert "larger" in refused(fleet)
    assert list(fleet.folder.path.glob(".download-*")) == []


def test_a_server_that_is_away_is_said_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.begin(url="http://127.0.0.1:9/fleet.bundle?token=hidden")
    for _ in range(3):
        fleet.step()
    (line,) = caplog.messages
    assert "no bundle from" in line
    assert "Error" not in line
    assert fleet.shown["waiting"] == line
    assert "hidden" not in line


def test_a_file_is_a_bundle_too(fleet: Fleet) -> None:
    fleet.begin(url=f"file:{fleet.state_dir / 'offered'}")
    fleet.step()
    fleet.offer(1)
    fleet.step()
    assert fleet.checked == [1]


def test_a_bundle_waits_while_a_reload_would_be_rejected(fleet: Fleet) -> None:
    fleet.offer(1)
    fleet.rollout._latest = statistics(("disk", "*"))
    fleet.step()
    assert fleet.checked == []
    fleet.rollout._latest = statistics()
    fleet.step()
    assert fleet.checked == [1]


def test_a_damaged_state_is_said_and_begins_anew(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.tried(1)
    (fleet.folder.path / "state.json").write_text('{"running": "rm -rf"')
    note_start(fleet.state_dir)
    fleet.begin()
    assert fleet.shown["bundle"] is None
    assert "damaged" in caplog.text


def test_a_roll_back_waits_for_the_disk_and_is_said_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.tried(1)
    fleet.step(1.0)
    (blocked := fleet.folder.path / ".state.json.new").mkdir()
    for _ in range(3):
        fleet.see(("overload", "*"))
    assert (fleet.shown["bundle"], fleet.reloads) == ("1", 1)
    blocked.rmdir()
    fleet.see(("overload", "*"))
    fleet.step(1.0)
    assert (fleet.shown["bundle"], fleet.reloads) == (None, 2)
    assert sum("is rolled back" in line for line in caplog.messages) == 1
    assert sum(str(fleet.folder.path) in line for line in caplog.messages) == 1


def test_signed_nonsense_is_refused(fleet: Fleet) -> None:
    payload = b'{"version": 1, "settings": {"sources": []}}\n'
    signed(fleet.state_dir / "offered", payload)
    fleet.server.content = (fleet.state_dir / "offered").read_bytes()
    assert "sources" in refused(fleet)


def test_installed_files_are_private(fleet: Fleet) -> None:
    fleet.offer(1, {"model": "bundle"}, b"weights")
    fleet.step()
    modes = {it.name: it.stat().st_mode & 0o77 for it in fleet.folder.path.iterdir()}
    assert modes == dict.fromkeys(("state.json", "1.json", "1.safetensors"), 0)
    assert isinstance(fleet.folder, BundleFolder)
