"""`check` shows what a configuration means, and reports every problem."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.audio.sources.devices import InputDevice
from monitor.commands.app import run_command_line
from monitor.commands.configuration import Configuration
from monitor.commands.configuration_check import ConfigurationCheck, check_configuration
from monitor.config.load import parse_config
from monitor.errors import SourceError
from monitor.model.model_file import write_model
from tests.support.models import stored_model

MICROPHONE = InputDevice("USB Audio", "ALSA", 2, 48_000.0, True, "hw:CARD=Audio,DEV=0")


def no_devices() -> list[InputDevice]:
    raise SourceError("PortAudio is missing")


def one_device() -> list[InputDevice]:
    return [MICROPHONE]


def checked(
    text: str, model_file: Path, state_dir: Path, devices: Any = no_devices
) -> ConfigurationCheck:
    text = f"model: {{file: {model_file}}}\n{text}"
    config = parse_config(text, "config.yaml")
    return check_configuration(
        Configuration(config, state_dir, None, "for a test"), devices
    )


def test_a_valid_configuration_has_no_problem(model_file: Path, tmp_path: Path) -> None:
    result = checked("", model_file, tmp_path / "new" / "folder")
    assert result.problems == []
    assert list(result.labels) == ["siren", "drilling", "gun_shot"]
    assert all(facts["can_fire"] for facts in result.labels.values())


def test_a_threshold_comes_from_the_user_else_the_model_else_the_preset(
    model_file: Path, tmp_path: Path
) -> None:
    text = "detection: {labels: {drilling: {onset_threshold: 0.9}}}"
    labels = checked(text, model_file, tmp_path).labels
    assert labels["siren"]["onset_threshold"] == 0.7  # of the model file
    assert labels["drilling"]["onset_threshold"] == 0.9
    assert labels["gun_shot"]["onset_threshold"] == 0.7  # of the impulsive preset


@pytest.mark.parametrize(
    ("devices", "note"),
    [
        (one_device, "connected: USB Audio"),
        (
            list,
            "not connected now; the daemon would wait for it: there is no microphone",
        ),
        (
            no_devices,
            "not connected now; the daemon would wait for it: PortAudio is missing",
        ),
    ],
)
def test_a_missing_microphone_is_reported_but_no_problem(
    devices: Any, note: str, model_file: Path, tmp_path: Path
) -> None:
    result = checked("", model_file, tmp_path, devices)
    (source,) = result.sources
    assert source["description"] == "microphone 'default'"
    assert source["note"].startswith(note)
    assert not result.problems


def test_devices_are_listed_only_for_a_microphone(
    model_file: Path, tmp_path: Path
) -> None:
    def list_devices() -> list[InputDevice]:
        raise AssertionError

    text = "sources: [{name: street, input: 'demo:'}]"
    (source,) = checked(text, model_file, tmp_path, list_devices).sources
    assert source["note"] == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources: [{name: a, input: 'file:/missing.wav'}]", "source 'a': "),
        (
            "sources: [{name: a, input: 'command:no-such-program -x'}]",
            "source 'a': command:no-such-program -x: there is no program",
        ),
        ("sources: [{name: a, input: 'mic:3'}]", "source 'a': mic:3: numbers of"),
        ("detection: {labels: {sirene: }}", "detection.labels: 'sirene' is not a l"),
        (
            "detection: {labels: {gun_shot: {min_duration_on_seconds: 9}}}",
            "detection.labels.gun_shot: ",
        ),
        (
            "detection: {labels: {siren: {offset_threshold: 0.8}}}",
            "detection.labels.siren.offset_threshold: 0.8 must not be above",
        ),
        ("detection: {hop_frames: 50}", "detection.hop_frames: 50 is not a multiple"),
    ],
)
def test_a_setting_that_cannot_work_is_a_problem(
    text: str, problem: str, model_file: Path, tmp_path: Path
) -> None:
    (found,) = checked(text, model_file, tmp_path).problems
    assert found.startswith(problem)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_missing_password_names_its_source_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"state_dir: {tmp_path}\nsources:\n- {{name: gate, input: 'rtsp://127.0.0.1/', "
        "username: me, password: 'env:NO_PASSWORD'}\n"
    )
    assert run_command_line(["check", "--config", str(config)]) == 2
    output = capsys.readouterr().out
    assert output.count("source 'gate'") == 1
    assert "source 'gate': password: the variable NO_PASSWORD is not set" in output


def test_one_problem_does_not_hide_another(model_file: Path, tmp_path: Path) -> None:
    text = """
sources:
  - {name: a, input: "file:/missing.wav"}
  - {name: b, input: "command:no-such-program"}
detection:
  hop_frames: 50
  labels:
    sirene:
    horn:
    gun_shot: {min_duration_on_seconds: 9}
"""
    assert len(checked(text, model_file, tmp_path).problems) == 6


def test_a_model_without_curves_is_one_problem(
    model_file: Path, tmp_path: Path
) -> None:
    text = "detection: {sensitivity: 0.8, labels: {siren: {onset_threshold: 0.6}}}"
    result = checked(text, model_file, tmp_path)
    (problem,) = result.problems
    assert "the model file has none of drilling and 1 more" in problem
    assert list(result.labels) == ["siren", "drilling", "gun_shot"]


def test_a_model_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    problems = checked("", tmp_path / "missing.safetensors", tmp_path).problems
    assert problems == [f"{tmp_path}/missing.safetensors: there is no such model file"]


def test_a_folder_that_cannot_hold_files_is_a_problem(
    model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").mkdir()
    (tmp_path / "file").touch()
    (problem,) = checked("", model_file, tmp_path).problems
    assert problem.endswith("events.jsonl is a folder")
    (problem,) = checked("", model_file, tmp_path / "file").problems[:1]
    assert problem == f"state_dir: {tmp_path}/file is not a folder"


def test_without_an_event_log_its_folder_does_not_matter(
    model_file: Path, tmp_path: Path
) -> None:
    result = checked("event_log: {path: null}", model_file, tmp_path)
    assert result.files["event_log"] is None
    assert not result.problems


@pytest.fixture
def config_file(model_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"state_dir: {tmp_path}\nmodel: {{file: {model_file}}}\n"
        "sources: [{name: street, input: 'demo:'}]\n"
    )
    return path


def test_the_report_is_printed(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "--config", str(config_file)]) == 0
    report = capsys.readouterr().out
    assert f"configuration: {config_file} (--config)" in report
    assert "demo:" in report
    assert "gun_shot" in report
    assert report.endswith("the configuration is valid\n")


def test_the_report_is_printed_as_json(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "--config", str(config_file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["labels"]["siren"]["can_fire"] is True
    assert report["labels"]["siren"]["latency_bound_seconds"] > 0
    assert report["model"]["name"] == "seeded"
    assert report["sources"][0]["input"] == "demo:"


def test_problems_mean_exit_code_two(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config_file.open("a") as file:
        file.write("detection: {hop_frames: 50}\n")
    assert run_command_line(["check", "--config", str(config_file)]) == 2
    assert capsys.readouterr().out.endswith("\n1 problem found\n")


def test_invalid_settings_are_a_list_of_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("ring_seconds: 1\nmodel: {threads: 0}\n")
    assert run_command_line(["check", "--config", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {
        "problems": [
            f"{path}:1: ring_seconds: 1 must be at least 5",
            f"{path}:2: model.threads: 0 must be at least 1",
        ]
    }


def test_every_fault_of_a_rule_is_reported_with_its_key(
    model_file: Path, tmp_path: Path
) -> None:
    text = (
        "alerts:\n"
        "- {name: a, labels: [sirn], webhook: {url: 'https://u.example/t0ken', "
        "bearer: 'env:NO_SUCH'}}\n"
        "- {name: b, webhook: {url: 'https://u.example/t0ken'}}\n"
        "- {name: c, command: [/no/such/program]}\n"
    )
    result = checked(text, model_file, tmp_path)
    assert result.problems == [
        "alerts[0].webhook.bearer: the variable NO_SUCH is not set",
        "alerts[2].command.argv: '/no/such/program' is not an executable program",
        "alerts[0].labels: 'sirn' is not a label that is reported; did you mean siren?",
    ]
    assert result.endpoints == {
        "a/webhook": "invalid",
        "b/webhook": "https://u.example/...",
        "c/command": "invalid",
    }


def test_faults_of_services_are_problems_with_their_keys(
    model_file: Path, tmp_path: Path
) -> None:
    text = (
        "heartbeat: {url_secret: 'env:NO_SUCH_PING'}\nprivacy: clips\n"
        "clips: {labels: [sirn]}\nmqtt: {host: a, tls: true, ca_file: /none.pem}\n"
    )
    problems = checked(text, model_file, tmp_path).problems
    assert len(problems) == 3
    assert problems[0] == (
        "clips.labels: 'sirn' is not a label that is reported; did you mean siren?"
    )
    assert problems[1].startswith("mqtt.ca_file: /none.pem cannot be read")
    assert problems[2] == "heartbeat.url_secret: the variable NO_SUCH_PING is not set"


def test_the_folder_of_clips_is_shown_but_not_created(
    model_file: Path, tmp_path: Path
) -> None:
    assert checked("", model_file, tmp_path).files["clips"] is None
    result = checked("privacy: clips", model_file, tmp_path)
    assert result.files["clips"] == tmp_path / "clips"
    assert result.problems == []
    assert not (tmp_path / "clips").exists()


def test_a_folder_of_clips_that_is_a_file_is_a_problem(
    model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "clips").write_text("")
    (problem,) = checked("privacy: clips", model_file, tmp_path).problems
    assert problem.startswith("clips.path: ")


def test_a_model_without_a_graph_is_a_problem_with_its_cure(
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.safetensors"
    write_model(path, replace(stored_model(), graphs={}))
    (problem,) = checked("", path, tmp_path / "state").problems
    assert problem.startswith(f"model.file: {path} has no graph for ONNX Runtime")
    assert "--convert" in problem


def test_what_to_expect_follows_the_sensitivity(
    curved_model_file: Path, tmp_path: Path
) -> None:
    text = """
detection:
  sensitivity: 1
  labels:
    siren: {sensitivity: 0.65}
    drilling: {onset_threshold: 0.6}
"""
    result = checked(text, curved_model_file, tmp_path)
    assert result.problems == []
    shown = {label: facts["sensitivity"] for label, facts in result.labels.items()}
    assert shown == {"siren": 0.65, "drilling": None, "gun_shot": 1.0}
    assert set(result.expected) == {"siren", "gun_shot"}
    siren = result.expected["siren"]
    assert siren.onset == pytest.approx(result.labels["siren"]["onset_threshold"])
    assert siren.detected_near == pytest.approx(0.825)
    assert result.expected["gun_shot"].false_alarms_per_hour == 1.0
    assert result.false_alarms_per_hour == pytest.approx(1 + (0.36 + 0.49) / 2)


def test_what_to_expect_follows_an_onset_threshold_on_the_curve(
    curved_model_file: Path, tmp_path: Path
) -> None:
    text = (
        "detection: {labels: {siren: {onset_threshold: 0.5}, "
        "gun_shot: {onset_threshold: 0.4}}}"
    )
    result = checked(text, curved_model_file, tmp_path)
    assert result.labels["siren"]["sensitivity"] is None
    assert result.expected["siren"].detected_near == pytest.approx(0.85)
    assert "gun_shot" not in result.expected


def test_the_figures_to_expect_are_printed(
    curved_model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(detection: str, *words: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(
            f"state_dir: {tmp_path}\nmodel: {{file: {curved_model_file}}}\n"
            f"sources: [{{name: street, input: 'demo:'}}]\ndetection: {detection}\n"
        )
        assert run_command_line(["check", "--config", str(path), *words]) == 0
        return capsys.readouterr().out

    drilling = "labels: {drilling: {onset_threshold: 0.6}}"
    report = printed(f"{{sensitivity: 0, {drilling}}}")
    assert (
        "siren     0            50%         20%  3.0 s           0.00 an hour (at most"
        in report
    )
    assert "drilling  -            unmeasured  -    -               -" in report
    assert "IN CLIPS" not in report
    assert "False alarms of 2 of the 3 labels together: 0.00 an hour." in report
    assert "Nothing was measured for the others with these rules." in report
    assert "hint" not in report
    report = printed(f"{{sensitivity: 1, {drilling}}}")
    assert "False alarms of 2 of the 3 labels together: 2.0 an hour." in report
    assert "\nhint: a lower sensitivity brings fewer false alarms" in report
    assert "hint" not in printed(
        "{labels: {siren: {onset_threshold: 0.2}, gun_shot: {onset_threshold: 0.5}}}"
    )
    facts = json.loads(printed(f"{{sensitivity: 1, {drilling}}}", "--json"))
    assert facts["labels"]["siren"]["sensitivity"] == 1
    assert facts["expected"]["siren"]["false_alarms_per_hour"] == 1
    assert facts["false_alarms_per_hour"] == 2


def test_nothing_is_expected_of_a_model_without_curves(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "--config", str(config_file)]) == 0
    assert "False alarms" not in capsys.readouterr().out


def test_a_model_of_the_command_line_is_checked(
    config_file: Path, curved_model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "--config", str(config_file), "--model", str(curved_model_file)]
    assert run_command_line(words) == 0
    assert "False alarms of 2 of the 3 labels" in capsys.readouterr().out
    assert run_command_line([*words[:3], "--model", "none.safetensors"]) == 2


def test_nothing_is_expected_of_a_rule_that_was_not_measured(
    curved_model_file: Path, tmp_path: Path
) -> None:
    rule = "{min_duration_on_seconds: 1, sensitivity: 0.6}"
    text = f"detection: {{labels: {{siren: {rule}}}}}"
    assert set(checked(text, curved_model_file, tmp_path).expected) == {"gun_shot"}
