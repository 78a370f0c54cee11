"""The pages show the figures of the included model world as its file has them."""

import importlib.util
import re
from types import ModuleType

import pytest

from monitor.model.card import read_card
from monitor.model.catalogue import ClipFigures
from monitor.model.label_search import offered_labels
from monitor.model.thresholds import CurvePoint
from tests.support import ROOT
from training.world.catalogue import read_catalogue


def load() -> ModuleType:
    """The script that writes the figures."""
    path = ROOT / "docs" / "label_tables.py"
    spec = importlib.util.spec_from_file_location("label_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = load()


@pytest.mark.parametrize("page", TABLES.PAGES, ids=lambda page: page.name)
def test_the_figures_of_a_page_are_those_of_the_model_file(page: object) -> None:
    """If they are not, run `python docs/label_tables.py`."""
    text = page.read_text()
    assert "<!-- summary: begin -->\nThe catalogue has" in text
    assert TABLES.with_blocks(text, TABLES.blocks()) == text


def test_another_figure_is_another_page() -> None:
    text = TABLES.PAGES[0].read_text()
    assert text != TABLES.with_blocks(text, {"summary": "No labels.\n"})
    assert text != TABLES.with_blocks(text, {"catalogue": "No labels.\n"})


def test_the_table_has_every_label_of_the_catalogue() -> None:
    text = TABLES.PAGES[0].read_text()
    for label, entry in read_card("world").card.catalogue.items():
        name = f"{entry.group} / **{label}**" if entry.group else f"**{label}**"
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        assert entry.text in row
        assert ("unmeasured" in row) == (entry.figures is None)


@pytest.mark.parametrize("page", TABLES.PAGES, ids=lambda page: page.name)
def test_a_page_names_the_members_of_a_group_that_its_figures_are_not_of(
    page: object,
) -> None:
    text = page.read_text()
    assert (
        "| `alarm` | `clock_alarm` | `smoke_alarm`, `fire_alarm`, `car_alarm` |" in text
    )


def test_a_label_has_figures_if_and_only_if_its_clips_are_named() -> None:
    named = {label: entry.clips for label, entry in read_catalogue().items()}
    for label, entry in read_card("world").card.catalogue.items():
        assert (entry.figures is None) == (not named[label])


def test_every_key_of_a_label_is_documented() -> None:
    (label, *_) = offered_labels({"world": read_card("world").card})
    rows = [it for it in TABLES.PAGES[0].read_text().splitlines() if it[:3] == "| `"]
    documented = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    keys = {*label.facts(), *CurvePoint.model_fields, *ClipFigures.model_fields}
    assert keys <= documented
