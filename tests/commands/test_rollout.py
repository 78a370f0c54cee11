"""The operator's side: a key, a bundle that is checked, and a look at it."""

import json
import os
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.commands.configuration import load
from monitor.config.bundle import BUNDLES
from monitor.runtime.bundle_file import read_bundle
from monitor.runtime.rollout_state import (
    BadBundle,
    RolloutState,
    Trial,
    bundle_folder,
    note_start,
)
from tests.support import ROOT
from tests.support.bundles import OTHER_KEY, made, offered, public

URBAN = ROOT / "monitor" / "model" / "weights" / "urban.safetensors"


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "fleet.key"
    assert run_command_line(["rollout", "key", str(path)]) == 0
    path.with_suffix(".pub").write_text(capsys.readouterr().out.strip())
    return path


def make(folder: Path, key: Path, settings: str, *more: str) -> int:
    (folder / "fleet.yaml").write_text(settings)
    arguments = (str(folder / "fleet.yaml"), "--version", "12", "--key", str(key))
    return run_command_line(["rollout", "make", *arguments, *more])


def test_a_key_is_private_and_never_replaced(
    key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert run_command_line(["rollout", "key", str(key)]) == 2
    assert "never replaced" in capsys.readouterr().err
    assert key.read_bytes() == before


def test_a_bundle_is_made_and_shown(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = "detection: {sensitivity: 0.6}\nmodels: [bundle, world]\n"
    options = ("--share", "0.25", "--model", str(URBAN))
    assert make(tmp_path, key, settings, *options) == 0
    printed = key.with_suffix(".pub").read_text()
    bundle = read_bundle(tmp_path / "fleet.bundle", {printed})
    assert bundle.manifest.model_bytes == URBAN.stat().st_size
    capsys.readouterr()
    arguments = ("rollout", "show", str(tmp_path / "fleet.bundle"), "--json")
    assert run_command_line([*arguments]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 12,
        "share": 0.25,
        "settings": {
            "detection": {"sensitivity": 0.6},
            "models": ["bundle", "world"],
        },
        "model_bytes": URBAN.stat().st_size,
        "public_key": printed,
    }


@pytest.mark.parametrize(
    ("settings", "options", "sentence"),
    [
        ("alerts: []", (), "fleet.yaml:1: alerts: a bundle cannot bring this"),
        ("\nrollout: {}", (), "fleet.yaml:2: rollout: a bundle cannot bring this"),
        ("detecton: {}", (), "did you mean detection?"),
        ("detection: {labels: {unicorn: {margin: 0.1}}}", (), "'unicorn' is not"),
        ("detection: {labels: {gun_shot: {smoothing_hops: 100}}}", (), "gun_shot"),
        ("model: bundle", (), "stands for the model of --model"),
        ("model: urban", ("--model", str(URBAN)), "stands for the model of --model"),
        ("", ("--model", "/etc/hostname"), "not a safetensors file"),
        ("", ("--model", "/nonexistent"), "/nonexistent: No such file"),
        ("", ("--out", "/nonexistent/a"), "No such file"),
        ("", ("--key", "/etc/hostname"), "is no private key"),
    ],
)
def test_mistakes_are_one_sentence_and_make_no_bundle(
    settings: str,
    options: tuple[str, ...],
    sentence: str,
    key: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert make(tmp_path, key, settings, *options) in (1, 2)
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "fleet.bundle").exists()


def test_another_file_is_no_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (URBAN, tmp_path / "none"):
        assert run_command_line(["rollout", "show", str(path)]) == 1
        assert capsys.readouterr().err.startswith(f"sound-monitor: {path}: ")


class Monitor:
    """The configuration and the state of a monitor, which does not run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.state = folder / "state"
        self.write("")
        bundle = read_bundle(
            made(folder / "a", 3, {"detection": {"sensitivity": 0.9}}), None
        )
        bundle_folder(self.state).install(folder / "a", bundle)
        bundle_folder(self.state).write(RolloutState(running=offered(3)))

    def write(self, more: str) -> None:
        rollout = f"{{url: 'https://a.example', public_keys: ['{public()}']}}"
        text = f"state_dir: {self.state}\nrollout: {rollout}\n{more}\n"
        self.path.write_text(text)


def test_every_command_has_the_settings_of_the_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = Monitor(tmp_path)
    monitor.write("detection: {level_gate_dbfs: -60}")
    found = load(monitor.path)
    detection = found.config.detection
    assert (detection.sensitivity, detection.level_gate_dbfs) == (0.9, -60)
    assert found.bundle == 3
    assert run_command_line(["check", "--config", str(monitor.path)]) == 0
    assert "note: settings of bundle 3\n" in capsys.readouterr().out
    bad = (BadBundle(version=4, digest=offered(4).digest, why="overload"),)
    state = RolloutState(running=offered(3), newest=offered(4), bad=bad)
    bundle_folder(monitor.state).write(state)
    assert run_command_line(["check", "--json", "--config", str(monitor.path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bundle"] == 3
    assert printed["notes"] == [
        "settings of bundle 3; bundle 4 was rolled back: overload"
    ]


def test_a_bundle_that_no_longer_fits_is_left_out_and_said(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path)
    (monitor.state / BUNDLES / "3.json").write_text('{"sources": []}')
    found = load(monitor.path)
    assert found.config.detection.sensitivity == 0.5
    assert "bundle 3 is left out" in found.bundle_sentence


def test_a_bundle_whose_key_was_removed_is_left_out_and_said(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path)
    bundle_folder(monitor.state).write(RolloutState(running=offered(3, OTHER_KEY)))
    found = load(monitor.path)
    assert (found.config.detection.sensitivity, found.bundle) == (0.5, None)
    assert found.bundle_fault == (
        "bundle 3 is left out: its key is no longer in rollout.public_keys"
    )


def test_without_a_count_of_starts_the_bundle_on_trial_is_left_out(
    tmp_path: Path,
) -> None:
    monitor, folder = Monitor(tmp_path), bundle_folder(tmp_path / "state")
    (folder.path / "2.json").write_text('{"detection": {"sensitivity": 0.7}}')
    folder.write(RolloutState(running=offered(3), trial=Trial(previous=offered(2))))
    assert load(monitor.path).config.detection.sensitivity == 0.9
    (folder.path / ".state.json.new").mkdir()  # as a full disk
    found = load(monitor.path, {**os.environ, **note_start(monitor.state)})
    assert (found.config.detection.sensitivity, found.bundle) == (0.7, 2)
    assert "bundle 3 is left out: it was on trial" in found.bundle_fault


def test_a_monitor_without_roll_out_ignores_bundles(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path)
    monitor.path.write_text(f"state_dir: {monitor.state}\n")
    assert load(monitor.path).config.detection.sensitivity == 0.5
