"""How the daemon starts, goes on and ends, seen from outside."""

import os
import signal
import sys

import numpy as np
import pytest
import soundfile

from monitor.audio.sources.demo import render_scene
from monitor.model.trained import save_model
from monitor.runtime.drills.monitor_process import children
from tests.support.daemon import START_SECONDS, RunningMonitor
from tests.support.models import seeded_model


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_open_events_and_soon_the_process(
    tmp_path, siren_command, number
):
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("siren  began")
        code, seconds = monitor.stop(number)
        assert code == 0, monitor.log
        assert seconds < 10
        siren = [e for e in monitor.records("event") if e["label"] == "siren"]
        assert siren[-1]["end_reason"] == "stopped"
        assert "Traceback" not in monitor.log


def test_the_log_is_reopened_on_hangup(tmp_path, siren_command):
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("siren  began")
        log = monitor.state_dir / "events.jsonl"
        moved = log.rename(monitor.state_dir / "moved.jsonl")
        monitor.process.send_signal(signal.SIGHUP)
        monitor.wait_until(lambda it: log.exists(), START_SECONDS)
        assert monitor.stop()[0] == 0
        assert moved.read_text().count("onset") == 1
        assert {event["type"] for event in monitor.records()} == {"event"}


def test_a_killed_command_is_started_again_after_a_gap(tmp_path, siren_command):
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("siren  began")
        os.kill(children(monitor.process.pid)[0], signal.SIGKILL)
        monitor.wait_until(
            lambda it: sum("listening" in line for line in it.lines) == 2,
            START_SECONDS,
        )
        monitor.wait_until(lambda it: it.records("gap"), START_SECONDS)
        assert monitor.stop()[0] == 0
        assert [gap["end_reason"] for gap in monitor.records("gap")] == ["ended"]
        ended = [event["end_reason"] for event in monitor.records("event")]
        assert "ended" in ended


def test_a_broken_source_does_not_affect_another(tmp_path, siren_command):
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources:\n"
        f"  - {{name: broken, input: 'command:{sys.executable} -c pass'}}\n"
        f"  - {{name: street, input: '{siren_command}'}}\n"
    )
    with RunningMonitor(tmp_path, "--config", str(config)) as monitor:
        monitor.wait_for_line("street  siren  began")
        assert monitor.stop()[0] == 0
        sources = {gap["source"] for gap in monitor.records("gap")}
        assert sources == {"broken"}


def test_a_missing_microphone_is_reported_and_waited_for(tmp_path):
    with RunningMonitor(
        tmp_path, "--input", "mic:No Such Microphone", PULSE_SERVER="unix:/nowhere"
    ) as monitor:
        monitor.wait_for_line("waiting")
        assert monitor.stop()[0] == 0
        assert "No Such Microphone" in monitor.log + " ".join(monitor.lines)


@pytest.mark.parametrize(
    "speed", ["max", pytest.param("realtime", marks=pytest.mark.slow)]
)
def test_a_recording_gives_the_same_events_at_any_speed(tmp_path, speed):
    """And the same as `analyze`, which test_analyze compares with `max`."""
    scene = render_scene(44_100)[:, : 12 * 44_100]
    path = tmp_path / "scene.wav"
    soundfile.write(path, scene.T, 44_100, subtype="FLOAT")
    with RunningMonitor(
        tmp_path, "--input", f"file:{path}", "--speed", speed
    ) as monitor:
        assert monitor.process.wait(60) == 0, monitor.log
        (event,) = monitor.records("event")
    assert event["label"] == "siren"
    assert event["start_sample"] == pytest.approx(6 * 44_100, abs=0.75 * 44_100)
    facts = [event[key] for key in ("start_sample", "stop_sample", "peak_score")]
    reference = tmp_path / "max"
    reference.mkdir()
    with RunningMonitor(
        reference, "--input", f"file:{path}", "--speed", "max"
    ) as monitor:
        monitor.process.wait(60)
        (expected,) = monitor.records("event")
    assert facts == [
        expected[key] for key in ("start_sample", "stop_sample", "peak_score")
    ]


@pytest.mark.parametrize(
    ("content", "said"), [(b"this is no sound at all", "scene.wav"), (b"", "scene.wav")]
)
def test_a_file_that_is_no_recording_is_rejected_in_one_sentence(
    tmp_path, content, said
):
    path = tmp_path / "scene.wav"
    path.write_bytes(content)
    with RunningMonitor(tmp_path, "--input", f"file:{path}") as monitor:
        assert monitor.process.wait(30) == 1
        errors = [line for line in monitor.log.splitlines() if "INFO" not in line]
    assert len(errors) == 1
    assert said in errors[0]


def test_a_recording_that_breaks_off_in_a_sample_is_analysed_up_to_there(tmp_path):
    path = tmp_path / "scene.wav"
    scene = render_scene(44_100)[:, : 14 * 44_100]
    soundfile.write(path, scene.T, 44_100, subtype="PCM_16")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 3 * 44_100 - 1])
    with RunningMonitor(
        tmp_path, "--input", f"file:{path}", "--speed", "max"
    ) as monitor:
        assert monitor.process.wait(30) == 1
        assert "the 12.50 s that it has were read" in monitor.log
        assert "Traceback" not in monitor.log
        labels = [event["label"] for event in monitor.records("event")]
    assert labels == ["siren"]


def test_only_invalid_samples_are_lost(tmp_path):
    path = tmp_path / "scene.wav"
    scene = render_scene(44_100)[:, : 14 * 44_100].copy()
    scene[:, 44_100:66_150] = np.nan
    scene[:, 88_200:88_300] = np.inf
    soundfile.write(path, scene.T, 44_100, subtype="FLOAT")
    with RunningMonitor(
        tmp_path, "--input", f"file:{path}", "--speed", "max"
    ) as monitor:
        assert monitor.process.wait(30) == 0, monitor.log
        gaps = monitor.records("gap")
        labels = [event["label"] for event in monitor.records("event")]
    assert {gap["end_reason"] for gap in gaps} == {"invalid"}
    assert gaps[0]["start_sample"] == 44_100
    assert labels == ["siren"]


def test_a_truncated_model_file_is_rejected_in_one_sentence(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_model(foreign, seeded_model())
    foreign.write_bytes(foreign.read_bytes()[:-1000])
    with RunningMonitor(
        tmp_path, "--input", "demo:", "--model", str(foreign)
    ) as monitor:
        assert monitor.process.wait(30) == 1
        assert "foreign.safetensors" in monitor.log.splitlines()[-1]
        assert "Traceback" not in monitor.log
