"""The labels of the models come from a child of the page, which is only ours."""

import subprocess
import sys
from pathlib import Path

import pytest

from monitor.web import labels
from monitor.web.rendering import LANGUAGES, strings


def test_a_module_in_the_working_folder_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typer.py").write_text("open('was-run', 'w')")
    monkeypatch.chdir(tmp_path)
    known = labels.KnownLabels()
    assert "smoke_alarm" in known.members("alarm", timeout_seconds=60)
    assert not (tmp_path / "was-run").exists()


def test_labels_that_cannot_be_read_are_read_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(labels, "RETRY_SECONDS", 0.0)
    program = "import sys; sys.exit('sound-monitor: the disk is gone')"
    with monkeypatch.context() as broken:
        broken.setattr(
            "monitor.web.child_commands.own_command",
            lambda *_: ([sys.executable, "-c", program], {}),
        )
        known = labels.KnownLabels()
        for _ in range(2):
            assert known.get(timeout_seconds=60) == ()
    assert caplog.text.count("the disk is gone") == 1
    assert "smoke_alarm" in [each.label for each in known.get(timeout_seconds=60)]


def test_the_page_itself_reads_no_model() -> None:
    script = (
        "import sys, monitor.web.pages.events\n"
        "print(*{'numpy', 'soundfile', 'httpx', 'onnxruntime'} & sys.modules.keys())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""


def test_a_label_has_one_colour_for_good() -> None:
    """The first labels differ; one that a person has taught has a colour too."""
    urban = ["air_conditioner", "car_horn", "dog_bark", "siren", "street_music"]
    assert len({labels.label_rank(label) for label in urban}) == len(urban)
    assert labels.label_rank("my bell") == sum(b"my bell") % labels.RANKS


def test_scripts_find_the_labels_in_the_same_order() -> None:
    orders = [
        [key for key in strings(language) if key.startswith("labels.")]
        for language in LANGUAGES
    ]
    assert orders[0] == orders[1]
