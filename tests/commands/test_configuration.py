"""The choice of the configuration file and of the state folder."""

import json
import os
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.commands.configuration import (
    Configuration,
    load,
    load_again,
    with_options,
)
from monitor.commands.configuration_file import VARIABLE, find_state_dir, text_digest
from monitor.config.config import Config
from monitor.errors import (
    ConfigError,
    SoundMonitorError,
    StoreUnavailableError,
    UsageError,
)
from monitor.runtime.reload import FreshConfig
from monitor.runtime.sensitivity import change_sensitivity
from monitor.sinks.mqtt.installation import FILE, read_installation
from monitor.sinks.store.database import Database
from monitor.web.passwords import PasswordFiles


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three configurations that differ in the length of the ring."""
    found = {}
    for seconds, name in enumerate(("option", "variable", "system"), start=10):
        found[name] = tmp_path / f"{name}.yaml"
        found[name].write_text(f"ring_seconds: {seconds}\n")
    return found


def test_the_option_comes_first_then_the_variable_then_the_system(
    files: dict[str, Path],
) -> None:
    environ = {"SOUND_MONITOR_CONFIG": str(files["variable"])}
    taken = [
        load(files["option"], environ, files["system"]),
        load(None, environ, files["system"]),
        load(None, {}, files["system"]),
    ]
    assert [each.config.ring_seconds for each in taken] == [10, 11, 12]
    assert [each.path for each in taken] == list(files.values())


def test_without_any_file_the_defaults_are_taken(tmp_path: Path) -> None:
    taken = load(None, {}, tmp_path / "missing.yaml")
    assert taken.config == Config()
    assert taken.path is None
    assert taken.sentence.startswith("configuration: the defaults (no --config")


def test_the_choice_is_reported_with_its_reason(files: dict[str, Path]) -> None:
    sentence = load(None, {"SOUND_MONITOR_CONFIG": str(files["variable"])}).sentence
    assert sentence == f"configuration: {files['variable']} ($SOUND_MONITOR_CONFIG)"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"config\.yaml: cannot be read \(--config\): No such file or directory"),
        (b"a: 1\nb: \xff\n", r"config\.yaml:2: is not text in UTF-8"),
        (b"ring_seconds: 1\n", r"config\.yaml:1: ring_seconds: 1 must be at least 5"),
    ],
)
def test_a_fault_of_the_file_is_reported_with_its_name(
    content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        load(path, {})


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("setting", "environ", "platform", "folder"),
    [
        ("/srv/ears", {"STATE_DIRECTORY": "/var/lib/x"}, "linux", "/srv/ears"),
        (None, {"STATE_DIRECTORY": "/var/lib/x:/var/lib/y"}, "linux", "/var/lib/x"),
        (
            None,
            {"HOME": "/h", "XDG_STATE_HOME": "/s"},
            "linux",
            "/s/sound-monitor",
        ),
        (None, {"HOME": "/h"}, "linux", "/h/.local/state/sound-monitor"),
        (
            None,
            {"HOME": "/h"},
            "darwin",
            "/h/Library/Application Support/sound-monitor",
        ),
    ],
)
def test_the_state_folder_follows_the_platform(
    setting: str | None, environ: dict[str, str], platform: str, folder: str
) -> None:
    assert find_state_dir(setting, environ, platform) == Path(folder)


def test_a_relative_state_dir_counts_from_the_working_folder() -> None:
    assert find_state_dir("ears", {}) == Path.cwd() / "ears"


def test_inputs_replace_the_sources_and_get_names() -> None:
    inputs = ["mic:default", "demo:", "mic:USB", "file:a.wav"]
    sources = with_options(Config(), inputs=inputs).sources
    assert [source.input for source in sources] == inputs
    assert [source.name for source in sources] == ["mic", "demo", "mic-2", "file"]


def test_options_that_were_not_given_change_nothing() -> None:
    assert with_options(Config()) == Config()


def test_options_win_over_the_file() -> None:
    model = with_options(Config(), model=Path("m"), compute_device="cpu").model
    assert (model.file, model.compute_device) == ("m", "cpu")


def test_an_invalid_input_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--input: input: 'microphone' must be mic:"):
        with_options(Config(), inputs=["microphone"])


def test_a_configuration_without_end_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"/dev/zero: .* it is not a regular file"):
        load(Path("/dev/zero"))


def test_nothing_waits_for_a_pipe_in_place_of_a_file(tmp_path: Path) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path)}
    for name in ("config.yaml", "overrides.yaml", "monitor.db", "password", FILE):
        os.mkfifo(tmp_path / name)
    assert read_installation(tmp_path).retained == {}
    with pytest.raises(ConfigError, match=r"config.yaml: .* it is not a regular file"):
        load(tmp_path / "config.yaml", state)
    (unfit,) = load(None, state, Path("/nowhere")).unfit
    assert "overrides.yaml: cannot be read" in unfit
    with pytest.raises(SoundMonitorError, match=r"overrides.yaml: cannot be changed"):
        change_sensitivity(FreshConfig(Config(), tmp_path), None, None)
    with pytest.raises(StoreUnavailableError, match="it is not a regular file"):
        Database(tmp_path / "monitor.db").connect(read_only=True)
    with pytest.raises(StoreUnavailableError, match="it is not a regular file"):
        Database(tmp_path / "monitor.db").prepare()
    with pytest.raises(SoundMonitorError, match="it is not a regular file"):
        PasswordFiles({"owner": tmp_path / "password"}).read()


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": ":/a:/b", "HOME": "/h"}, "/a"),
        ({"STATE_DIRECTORY": "::", "HOME": "/h"}, "/h/.local/state/sound-monitor"),
        ({"STATE_DIRECTORY": "/a\nb", "HOME": "/h"}, "/a\nb"),
        ({"XDG_STATE_HOME": "../x", "HOME": "/h"}, "/h/.local/state/sound-monitor"),
        (
            {"XDG_STATE_HOME": "", "HOME": "/h\udcff"},
            "/h\udcff/.local/state/sound-monitor",
        ),
    ],
)
def test_odd_variables_still_give_a_folder(
    environ: dict[str, str], folder: str
) -> None:
    assert find_state_dir(None, environ, "linux") == Path(folder)


def test_an_unknown_home_is_one_sentence() -> None:
    with pytest.raises(
        ConfigError, match=r"state_dir: .*home.*; write an absolute path"
    ):
        find_state_dir("~nobody-has-this-name/x", {})


def test_a_fault_found_with_the_model_gets_its_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "detection:\n"
        "  hop_frames: 50\n"
        "  labels:\n"
        "    siren:\n"
        "      offset_threshold: 0.9\n"
        "    sirene: {}\n"
        "alerts:\n"
        "- {name: a, command: [x]}\n"
    )
    configuration = load(path)
    for sentence, line in [
        ("detection.labels.siren.offset_threshold: 0.9 must not be above", 5),
        ("detection.labels.siren: cannot fire", 4),
        ("detection.labels: 'sirene' is not a label of the model", 6),
        ("detection.labels: 'sir' is not a label of the model", 3),
        ("detection.hop_frames: 50 is not a multiple", 2),
        ("alerts[0].command.argv: 'x' is not a program", 8),
        ("alerts need a database, and store.path is null", 7),
    ]:
        assert configuration.placed(sentence) == f"{path}:{line}: {sentence}"
    for sentence in ("model.file: x", "detect", "alerting: no", "/x: is no model"):
        assert configuration.placed(sentence) == sentence
    assert configuration.placed("detection: a\nx") == f"{path}:1: detection: a\nx"
    rule = r"config.yaml:2: detection.hop_frames: 50"
    with pytest.raises(ConfigError, match=rule), configuration.placing():
        raise ConfigError("detection.hop_frames: 50 is odd")


def test_the_defaults_have_no_lines() -> None:
    configuration = Configuration(Config(), Path("/x"), None, "none")
    assert configuration.placed("detection: a") == "detection: a"


def test_a_reload_reads_the_same_file(tmp_path: Path) -> None:
    path, system = tmp_path / "config.yaml", tmp_path / "system.yaml"
    path.write_text("ring_seconds: 10")
    system.write_text("ring_seconds: 20")
    before = load(None, {VARIABLE: str(path)}, system)
    path.write_text("ring_seconds: 30")
    again = load_again(before, {}, system)
    assert again.config.ring_seconds == 30
    assert (before.digest, again.digest) == (
        text_digest("ring_seconds: 10"),
        text_digest("ring_seconds: 30"),
    )
    path.unlink()
    # Not the system's file instead: nobody has asked for that one.
    with pytest.raises(ConfigError, match="cannot be read"):
        load_again(before, {}, system)


def test_a_reload_of_the_defaults_finds_a_new_file(tmp_path: Path) -> None:
    system = tmp_path / "system.yaml"
    before = load(None, {}, system)
    system.write_text("ring_seconds: 20")
    assert load_again(before, {}, system).config.ring_seconds == 20


@pytest.fixture
def overridden(tmp_path: Path) -> Path:
    """A configuration whose monitor has changed a sensitivity."""
    (tmp_path / "overrides.yaml").write_text(
        "detection: {labels: {siren: {sensitivity: 0.7}}}\n"
    )
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path}\n")
    return path


def test_settings_that_the_monitor_has_changed_replace_those_of_the_file(
    overridden: Path,
) -> None:
    for taken in (load(overridden, {}), load_again(load(overridden, {}), {})):
        assert taken.config.detection.sensitivity_of("siren") == 0.7
        assert taken.overrides_sentence == (
            f"overrides: sensitivity of siren 0.7 ({overridden.parent}/overrides.yaml)"
        )
    (overridden.parent / "overrides.yaml").unlink()
    assert load(overridden, {}).overrides_sentence == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "siren: {sensitivity: 0.7}",
            "detection.labels.siren.sensitivity: 0.7 sets",
        ),
        ("siren: {sensitivity: 7}", "detection.labels.siren.sensitivity: 7 must be"),
        ("sirene: {sensitivity: 0.7}", "detection.labels: 'sirene' is not a label"),
        ("siren: 5", "detection.labels.siren: 5 must be a section"),
    ],
)
def test_an_override_that_does_not_fit_is_left_out_alone(
    overridden: Path, text: str, fault: str
) -> None:
    """No slider may keep the monitor from starting again."""
    overrides = overridden.parent / "overrides.yaml"
    with overridden.open("a") as file:
        file.write("detection: {labels: {siren: {onset_threshold: 0.5}}}\n")
    overrides.write_text(
        "detection:\n"
        "  sensitivity: 0.4\n"
        "  labels:\n"
        f"    {text}\n"
        "    dog_bark: {sensitivity: 0.6}\n"
    )
    taken = load(overridden, {}).fitting()
    detection = taken.config.detection
    assert detection.labels.keys() == {"siren", "dog_bark"}
    assert detection.labels["siren"].onset_threshold == 0.5
    assert detection.sensitivity_of("dog_bark") == 0.6
    assert detection.sensitivity == 0.4
    (sentence,) = taken.unfit
    assert sentence.startswith(f"{overrides}:4: {fault}")
    assert taken.overrides_sentence == (
        f"overrides: sensitivity 0.4, dog_bark 0.6 ({overrides}); "
        f"an override is left out: {sentence}"
    )


@pytest.mark.parametrize("content", [b"detection: [", b"\xff", b"- 5", b"detection: 5"])
def test_overrides_that_cannot_be_read_are_left_out(
    overridden: Path, content: bytes
) -> None:
    overrides = overridden.parent / "overrides.yaml"
    overrides.write_bytes(content)
    taken = load(overridden, {})
    assert not taken.overrides
    assert taken.config == load(overridden, {}).plain
    assert taken.overrides_sentence.startswith(
        f"an override is left out: {overrides}:1: "
    )


def test_a_configuration_at_fault_is_not_blamed_on_overrides(overridden: Path) -> None:
    with overridden.open("a") as file:
        file.write("detection: {labels: {sirene: {margin: 0.1}}}\n")
    taken = load(overridden, {}).fitting()
    assert taken.overrides
    assert not taken.unfit


def test_check_says_which_settings_the_monitor_has_changed(
    overridden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "--config", str(overridden), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["notes"][0].startswith("overrides: sensitivity of siren 0.7")
    assert found["labels"]["siren"]["sensitivity"] == 0.7


def test_inputs_at_one_udp_port_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^--input: 'udp' and 'udp-2' both listen"):
        with_options(Config(), inputs=["udp:5004", "udp:5004"])
    with_options(Config(), inputs=["udp:5004", "udp:5005"])
