"""`check` says which models cannot listen together."""

import json
from pathlib import Path

import pytest

from monitor.commands.configuration import Configuration
from monitor.commands.configuration_check import check_configuration
from monitor.config.load import parse_config
from monitor.model.model_file import write_model
from tests.support.models import small_model
from tests.support.recordings import SMALL_SPEC


@pytest.mark.parametrize(
    ("window_frames", "hop_frames", "fault"),
    [
        (64, 48, None),
        (96, 48, "'second' cannot listen beside 'first', whose windows of 1.547 s"),
        (64, 16, "it needs 1.496 s and moves by 0.256 s; let it listen alone"),
    ],
)
def test_models_that_cannot_listen_together_are_a_problem(
    tmp_path: Path, window_frames: int, hop_frames: int, fault: str | None
) -> None:
    first = {"sample_rate": 12_000, "window_frames": 144}
    second = {"window_frames": window_frames}
    for name, update in (("first", first), ("second", second)):
        spec = SMALL_SPEC.model_copy(update=update)
        model = small_model(name, [f"{name} label"], spec, 1)
        write_model(tmp_path / name, model)
    files = [str(tmp_path / name) for name in ("first", "second")]
    text = f"models: {json.dumps(files)}\ndetection: {{hop_frames: {hop_frames}}}"
    config = parse_config(text, "config.yaml")
    configuration = Configuration(config, tmp_path / "state", None, "for a test")
    problems = check_configuration(configuration, list).problems
    if fault is None:
        assert problems == []
    else:
        (problem,) = problems
        assert fault in problem
