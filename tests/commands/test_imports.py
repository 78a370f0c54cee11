"""Commands that need no network load none of its libraries."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

HEAVY = ("torch", "torchaudio", "onnxruntime", "matplotlib", "sklearn", "scipy")
SCRIPT = f"""
import sys
from monitor.commands.app import run_command_line
run_command_line(sys.argv[1:])
print("loaded:", *(name for name in {HEAVY} if name in sys.modules))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["devices"],
        ["check"],
        ["check", "--json"],
        ["status"],
        ["model"],
    ],
    ids=" ".join,
)
def test_the_command_loads_no_heavy_library(
    arguments: list[str], model_file: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {{file: {model_file}}}\nsources:\n- {{name: a, input: 'demo:'}}\n"
        f"- {{name: b, input: 'command:cat {model_file}'}}\n- {{name: c}}\n"
    )
    arguments = arguments + [str(model_file)] * (arguments == ["model"])
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={"SOUND_MONITOR_CONFIG": str(config), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "loaded:"


def test_check_of_a_microphone_loads_no_library_for_sound_or_the_network(
    tmp_path: Path,
) -> None:
    script = SCRIPT.replace(str(HEAVY), str((*HEAVY, "httpx", "soundfile")))
    result = subprocess.run(
        [sys.executable, "-c", script, "check"],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the configuration is valid" in result.stdout
    assert result.stdout.splitlines()[-1] == "loaded:"


def test_listening_and_analysing_load_nothing_that_only_training_needs(
    tmp_path: Path,
) -> None:
    script = SCRIPT.replace(str(HEAVY), str(tuple(set(HEAVY) - {"onnxruntime"})))
    sound = tmp_path / "short.wav"
    soundfile.write(sound, np.zeros(44_100), 44_100)
    for arguments in (
        ["run", "--input", f"file:{sound}", "--speed", "max"],
        ["analyze", str(sound)],
    ):
        result = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout.splitlines()[-1] == "loaded:", result.stderr
