"""`check` looks at clips, MQTT and the heartbeat too, and touches nothing."""

from pathlib import Path

from tests.commands.test_check import examined


def test_faults_are_problems_with_their_place(model_file: Path, tmp_path: Path) -> None:
    text = (
        "heartbeat: {url_secret: 'env:NO_SUCH_PING'}\nprivacy: clips\n"
        "clips: {labels: [sirn]}\nmqtt: {host: a, tls: true, ca_file: /none.pem}\n"
    )
    problems = examined(text, model_file, tmp_path).problems
    assert len(problems) == 3
    assert problems[0].startswith("mqtt.ca_file: /none.pem cannot be read")
    assert problems[1] == ("heartbeat.url_secret: the variable NO_SUCH_PING is not set")
    assert problems[2].startswith("clips.labels: 'sirn' is not a label of the model")


def test_where_clips_go_is_shown_only_if_they_are_stored(
    model_file: Path, tmp_path: Path
) -> None:
    assert examined("", model_file, tmp_path).files["clips"] is None
    examination = examined("privacy: clips", model_file, tmp_path)
    assert examination.files["clips"] == tmp_path / "clips"
    assert examination.problems == []
    assert list(tmp_path.iterdir()) == [model_file] or not list(tmp_path.glob("clips"))


def test_a_folder_of_clips_that_is_a_file_is_a_problem(
    model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "clips").write_text("")
    (problem,) = examined("privacy: clips", model_file, tmp_path).problems
    assert problem.startswith("clips.path: ")
