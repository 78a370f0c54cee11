"""A command loads only the libraries that it needs: most of its time is imports."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.model.model_file import load_model

TRAINING = (
    *("torch", "torchaudio", "matplotlib", "sklearn", "scipy", "pandas"),
    "tensorboard",
)
# `importlib.metadata` and `ssl` belong to the standard library, and are slow as well.
NETWORK = (*TRAINING, "onnxruntime", "httpx", "ssl", "rich", "soxr")
ARRAYS = (*NETWORK, "numpy", "safetensors", "soundfile")
SETTINGS = (*ARRAYS, "pydantic", "yaml", "importlib.metadata", "sqlite3", "asyncio")

SCRIPT = """
import sys
from monitor.commands.app import run_command_line
code = run_command_line(sys.argv[2:])
print("\\nloaded:", *sorted(set(sys.argv[1].split()) & sys.modules.keys()), code)
"""


def loaded(
    arguments: list[str], libraries: tuple[str, ...], home: Path, **environ: str
) -> str:
    """Run a command; return those of `libraries` that it has loaded, and its code."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, " ".join(libraries), *arguments],
        env={"HOME": str(home), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()[-1].removeprefix("loaded: ")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("run --help", 0),
        ("train --help", 0),
        ("alerts list --help", 0),
        ("alerts", 2),
        ("status", 1),
        ("devices", 0),
    ],
)
def test_the_command_builds_no_settings(line: str, code: int, tmp_path: Path) -> None:
    assert loaded(line.split(), SETTINGS, tmp_path) == str(code)


@pytest.mark.parametrize(
    ("line", "libraries"),
    [
        ("events", ARRAYS),
        ("events --json", ARRAYS),
        ("alerts list", ARRAYS),
        ("events --label dog", NETWORK),
        ("report", NETWORK),
        ("report --label dog", NETWORK),
        ("forget --since 1h --yes", NETWORK),
    ],
)
def test_the_history_needs_no_network(
    line: str, libraries: tuple[str, ...], config: Path, tmp_path: Path
) -> None:
    environ = {"SOUND_MONITOR_CONFIG": str(config)}
    assert loaded(line.split(), libraries, tmp_path, **environ) == "0"


@pytest.mark.parametrize(
    "line", ["check", "check --json", "model", "model --labels dog"]
)
def test_a_check_runs_no_network(line: str, model_file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {{file: {model_file}}}\nsources:\n- {{name: a, input: 'demo:'}}\n"
        f"- {{name: b, input: 'command:cat {model_file}'}}\n- {{name: c}}\n"
    )
    arguments = line.split() + [str(model_file)] * (line == "model")
    environ = {"SOUND_MONITOR_CONFIG": str(config)}
    assert loaded(arguments, NETWORK, tmp_path, **environ) == "0"


def test_check_of_a_microphone_loads_no_library_for_sound(tmp_path: Path) -> None:
    assert loaded(["check"], (*NETWORK, "soundfile"), tmp_path) == "0"


@pytest.mark.parametrize(
    "line",
    [
        "train EMPTY",
        "train OTHER",
        "evaluate EMPTY",
        "evaluate OTHER",
        "evaluate NONE",
        "evaluate EMPTY --run EMPTY",
        "evaluate --streams OTHER",
        "calibrate --false-alarms-per-day 2 --background EMPTY",
        "calibrate --false-alarms-per-day 2 --background OTHER",
        "calibrate --false-alarms-per-day 2 --background NONE",
        "scenes OTHER --out NONE",
    ],
)
def test_a_folder_without_recordings_is_rejected_at_once(
    line: str, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("EMPTY", "OTHER", "NONE")}
    folders["EMPTY"].mkdir()
    folders["OTHER"].mkdir()
    (folders["OTHER"] / "notes.txt").touch()
    arguments = [str(folders.get(word, word)) for word in line.split()]
    # A folder that is missing is wrong usage.
    code = "2" if line.endswith(("evaluate NONE", "--background NONE")) else "1"
    assert loaded(arguments, NETWORK, tmp_path) == code


@pytest.mark.parametrize(
    "line", ["run --speed max --input file:SOUND", "analyze SOUND"]
)
def test_listening_and_analysing_load_nothing_that_only_some_need(
    line: str, tmp_path: Path
) -> None:
    sound = tmp_path / "short.wav"
    soundfile.write(sound, np.zeros(5 * 44_100), 44_100)
    arguments = line.replace("SOUND", str(sound)).split()
    unused = (*TRAINING, "httpx", "ssl", "rich", "asyncio", "sounddevice")
    assert loaded(arguments, unused, tmp_path) == "0"


def test_thresholds_and_scenes_need_nothing_that_only_training_needs(
    tmp_path: Path,
) -> None:
    (night := tmp_path / "night").mkdir()
    for number in range(5):
        noise = np.random.default_rng(number).normal(0, 0.01, 10 * 44_100)
        soundfile.write(night / f"{number}.wav", noise, 44_100)
    out = tmp_path / "here.safetensors"
    for line in (
        f"calibrate --background {night} --false-alarms-per-day 2 --out {out}",
        f"scenes --negatives {night} --out {tmp_path / 'scenes'} --events-per-minute 0 "
        "--hours 0.01 --stream-minutes 1",
    ):
        assert loaded(line.split(), TRAINING, tmp_path) == "0"
    before, after = load_model(None), load_model(out)
    assert after.card.thresholds != before.card.thresholds
    for name, weight in before.weights.items():
        assert np.array_equal(after.weights[name], weight), name
