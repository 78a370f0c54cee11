"""`analyze` prints the events of recordings, and goes on after a broken one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.commands.app import run_command_line
from monitor.spec import ModelSpec
from tests.support.health import as_16_bit
from tests.support.signals import noise, silence

RATE = 22_050


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Nine seconds of noise."""
    noise = np.random.default_rng(1).normal(0, 0.1, 9 * RATE)
    path = tmp_path / "a street [red].wav"
    soundfile.write(path, noise, RATE)
    return path


@pytest.fixture
def options(model_file: Path, tmp_path: Path) -> list[str]:
    """A model that knows nothing, and thresholds that it reaches with every noise."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {{file: {model_file}}}\n"
        "detection:\n  labels:\n"
        "    siren: {onset_threshold: 0.001, offset_threshold: 0.001}\n"
        "    drilling: {onset_threshold: 0.999}\n"
        "    gun_shot: {onset_threshold: 0.999}\n"
    )
    return ["--config", str(config)]


def analyze(*arguments: object) -> int:
    return run_command_line(["analyze", *map(str, arguments)])


def test_a_table_shows_events_with_their_times(
    recording: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(recording, *options) == 0
    title, header, event = capsys.readouterr().out.splitlines()
    assert title == f"{recording}:"
    assert header.split() == ["START", "END", "DURATION", "LABEL", "SCORE", "DBFS"]
    assert "siren" in event.split()


def test_json_has_one_event_a_line_with_the_path_as_source(
    recording: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(recording, "--json", *options) == 0
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["type"] == "event"
    assert event["label"] == "siren"
    assert event["source"] == str(recording)
    assert event["start"] is None
    assert 0 <= event["start_seconds"] < event["end_seconds"] <= 9


@pytest.mark.parametrize("name", [b"rue \xe9t\xe9.wav", b"bell\x07.wav"])
def test_the_name_of_a_recording_may_have_any_bytes(
    name: bytes,
    recording: Path,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = recording.rename(recording.with_name(os.fsdecode(name)))
    assert analyze(odd, *options, "--plot", recording.with_name("plot.png")) == 0
    assert "siren" in capsys.readouterr().out


def test_a_recording_without_events_is_reported(
    recording: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silence = recording.with_name("silence.wav")
    soundfile.write(silence, np.zeros(6 * RATE), RATE)
    assert analyze(silence, "--model", model_file) == 0
    assert capsys.readouterr().out == f"{silence}: no sounds detected\n"


def test_a_broken_recording_does_not_keep_the_others_from_being_analysed(
    recording: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = recording.with_name("text.wav")
    text.write_text("no sound at all")
    assert analyze(text, recording, "--json", *options) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["source"] == str(recording)
    assert printed.err.startswith("sound-monitor: ")
    assert str(text) in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_missing_recording_is_wrong_usage(
    recording: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(recording.with_name("missing.wav"), *options) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_picture_is_drawn(recording: Path, options: list[str]) -> None:
    picture = recording.with_name("picture.png")
    assert analyze(recording, "--plot", picture, *options) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_shows_one_recording(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(recording, recording, "--plot", "x.png") == 2
    message = capsys.readouterr().err
    assert message == "sound-monitor: --plot: shows one recording, not 2\n"


def test_the_path_of_a_picture_is_checked_first(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(recording, "--plot", recording.parent) == 2
    assert analyze(recording, "--plot", recording.parent / "no" / "x.png") == 2
    assert "must be a file in a folder that exists" in capsys.readouterr().err
    assert analyze(recording, "--plot", recording.parent / ("x" * 300)) == 2


def test_a_picture_does_not_replace_its_recording(recording: Path) -> None:
    data = recording.read_bytes()
    link = recording.with_name("link.png")
    link.symlink_to(recording)
    for picture in (recording, link):
        assert analyze(recording, "--plot", picture) == 2
    assert recording.read_bytes() == data


def test_clipping_is_reported_and_silence_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = as_16_bit(noise(20, 0.3, 16_000), gain=10)
    padded = np.concatenate([silence(30, 16_000), loud, silence(30, 16_000)], axis=1)
    path = tmp_path / "padded.wav"
    soundfile.write(path, padded[0], 16_000, "PCM_16")
    assert analyze(path) == 0
    (found,) = [line for line in capsys.readouterr().out.splitlines() if "(" in line]
    assert found.split() == ["0:00:30.0", "0:00:50.0", "20.0", "s", "(clipping)"]
    assert analyze(path, "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    health = [record for record in records if record["type"] == "health"]
    assert [(it["kind"], it["state"], it["source"]) for it in health] == [
        ("clipping", "cleared", str(path))
    ]


@pytest.mark.parametrize("seconds", [0.1, 4.0])
def test_a_recording_shorter_than_a_window_is_followed_by_silence(
    seconds: float,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = ModelSpec()
    sound = np.random.default_rng(1).normal(0, 0.1, spec.samples(seconds))
    padded = np.pad(sound, (0, spec.window_samples - len(sound)))
    found = []
    for name, samples in (("short", sound), ("padded", padded)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples, spec.sample_rate)
        assert analyze(path, "--json", *options) == 0
        event = json.loads(capsys.readouterr().out)
        found.append(
            {key: event[key] for key in ("label", "peak_score", "start_seconds")}
        )
        assert name == "padded" or event["end_seconds"] <= seconds
    assert found[0] == found[1]


def test_a_file_s_failure_is_its_own(
    recording: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names on one line each; what lies behind a bad file is analysed."""
    data = recording.read_bytes()
    names = [b"a\nb.wav", b"caf\xe9.wav", b"-c.wav", b"~d.wav", b"z.wav"]
    contents = [b"text", b"", data[: len(data) - 1000], data * 2, data]
    files = []
    for name, content in zip(names, contents, strict=True):
        files.append(recording.with_name(os.fsdecode(name)))
        files[-1].write_bytes(content)
    assert analyze(*options, "--", *files) == 1
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert [line.startswith("sound-monitor: ") for line in errors] == [True] * 4
    assert "a b.wav: not a recording" in errors[0]
    assert r"caf\xe9.wav: the file is empty" in errors[1]
    assert "-c.wav: the recording stops before its end" in errors[2]
    assert "~d.wav: several recordings in one file" in errors[3]
    assert f"{files[-1]}" in captured.out


def test_a_name_without_a_folder_may_begin_with_a_tilde(
    recording: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(recording.parent)
    recording.rename("~nobody.wav")
    assert analyze("~nobody.wav", *options) == 0


def test_losses_that_leave_no_window_are_shown(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    samples = np.zeros(6 * RATE, np.float32)
    samples[3 * RATE] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    assert analyze(tmp_path / "nan.wav", *options) == 1
    captured = capsys.readouterr()
    assert "nan.wav: has no part as long as the model's window" in captured.err
    assert "invalid samples" in captured.out


def test_a_file_without_a_stated_length_is_analysed_with_a_warning(
    recording: Path, options: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = recording.read_bytes()
    recording.write_bytes(data[:40] + b"\xff\xff\xff\xff" + data[44:])
    assert analyze(recording, *options) == 0
    (record,) = [r for r in caplog.records if "complete is unknown" in r.getMessage()]
    assert str(recording) in record.getMessage()


@pytest.mark.timeout(60)
def test_the_worker_waits_for_nothing(
    recording: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.runtime.worker.IDLE_SECONDS", 3_600)
    assert analyze(recording, *options) == 0
