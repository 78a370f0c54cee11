"""The labels of the page are those of the models, each with one colour for good."""

import json
import subprocess
import sys

import pytest

from monitor.web import labels
from monitor.web.rendering import LANGUAGES, strings
from tests.support.commands import run


def test_the_page_has_the_labels_of_the_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`labels.json` has a row of label, group and text for each."""
    found = json.loads(run(capsys, "model", "--labels", "--json"))["labels"]
    rows = [(each["label"], each["group"], each["text"]) for each in found]
    assert list(labels.known_labels()) == rows


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
