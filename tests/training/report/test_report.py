"""The report of a run: whatever it shows is text, and never HTML or a link."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from monitor.model.card import ModelCard
from monitor.model.thresholds import Thresholds
from training.checkpoint import RunFolder
from training.config import TrainingSettings
from training.data.manifest import Clip, Manifest
from training.mixtures.material import Material
from training.report import report
from training.report.report import Html, fill, write_report

EVIL = "<script>alert('&')</script>\"[link=javascript:x]x[/link]{name}"
TAGS = {"html", "meta", "title", "style", "h1", "h2", "p", "img", "br", "audio"} | {
    *("div", "table", "tr", "th", "td")
}
LABELS = ("dog", "car+horn/a")


class Store:
    """Clips of noise, half a second by default."""

    channels = 1

    def __init__(self, samples: int = 22_050) -> None:
        self._samples = samples

    def read(self, path: Path) -> np.ndarray:
        samples = np.random.default_rng(0).normal(0, 0.1, (1, self._samples))
        return samples.astype(np.float32)

    sound = read


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(
    folder: Path,
    name: str,
    samples: int = 22_050,
    labels: tuple[str, ...] = LABELS,
    licence: str = EVIL,
) -> Tags:
    rows = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "clips": 2, "groups": 2}
    figures = {
        "accuracy": 0.5,
        "accuracy_ci95": (0.1, 0.9),
        "macro_f1": 0.5,
        "expected_calibration_error": 0.1,
        "clips": 2,
        "teacher_embedding_accuracy": {EVIL: 0.5},
        "per_class": dict.fromkeys(labels, rows),
        "confusion": [[1, 0], [1, 0]],
    }
    card = ModelCard(
        name="pets",
        preset="article",
        labels=labels,
        thresholds={labels[0]: Thresholds(onset=0.7, offset=0.5)},
        licence=licence,
        created="2026-01-01T00:00:00Z",
        report=figures,
    )
    clips = tuple(Clip(folder / name, label, name, 0) for label in (0, 1))
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    run = RunFolder(folder)
    run.log({"epoch": 1, "loss": 1.0, "accuracy": 0.5, "validation": {}})
    material = Material(Manifest(labels, clips), Store(samples), None, None)
    tested = report.TestedClips(clips, scores)
    file = write_report(run, card, material, TrainingSettings(), tested)
    tags = Tags()
    tags.feed(file.read_text(encoding="utf-8"))
    return tags


def test_names_of_files_and_licences_are_shown_and_not_executed(tmp_path: Path) -> None:
    found = page(tmp_path, f"{EVIL.replace('/', '.')}.wav")
    assert set(found.tags) <= TAGS
    assert found.links == []
    assert found.text.count("alert('&')") == 3


def test_labels_are_text_and_whole(tmp_path: Path) -> None:
    """As long as a label may be, in its tables and in the mistakes."""
    labels = ("<b>&\"'</b>", "W" * 63)
    found = page(tmp_path, "dog.wav", labels=labels)
    assert set(found.tags) <= TAGS
    assert [found.text.count(label) for label in labels] == [3, 2]


def test_a_model_without_a_licence_has_no_empty_paragraph(tmp_path: Path) -> None:
    html = (tmp_path / "report.html").read_text() if page(tmp_path, "a.wav") else ""
    assert "pre-line" in html
    page(tmp_path, "a.wav", licence="")
    assert "pre-line" not in (tmp_path / "report.html").read_text()


def test_a_file_name_that_is_not_utf_8_is_shown(tmp_path: Path) -> None:
    assert "caf?.wav" in page(tmp_path, "caf\udce9.wav").text


@pytest.mark.parametrize("samples", [1, 2, 500, 1_500])
def test_clips_may_be_shorter_than_a_frame(tmp_path: Path, samples: int) -> None:
    assert "short.wav" in page(tmp_path, "short.wav", samples).text
    assert (tmp_path / "pictures" / "a-recording.png").is_file()


def test_only_what_is_html_is_not_escaped() -> None:
    row = fill("<b>{text}</b>", text="<i>{x}</i> & \"'")
    assert row == "<b>&lt;i&gt;{x}&lt;/i&gt; &amp; &quot;&#x27;</b>"
    assert fill("<p>{row}</p>", row=row) == f"<p>{row}</p>"
    assert isinstance(row, Html)
