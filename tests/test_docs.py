"""The README and the pages of docs/: their commands, settings, keys and links exist."""

import contextlib
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from monitor.audio.sources.demo import SCENE
from monitor.commands.app import build_app
from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.model.card import read_card
from monitor.records import EndReason, HealthKind
from monitor.sinks.encoding import KEYS
from tests.support import ROOT

README = ROOT / "README.md"
RECIPES = ROOT / "docs" / "recipes"
PAGES = sorted((ROOT / "docs").glob("*.md"))
ALL = (README, *PAGES, *sorted(RECIPES.glob("*.md")))
LONGEST_README = 250


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language, those in lists too."""
    pattern = rf"^( *)```{language}\n(.*?)^\1```"
    found = re.findall(pattern, page.read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every call of the program in a shell block, with the page that shows it."""
    for page in ALL:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    words = [word for word in words if not word.startswith(">")]
                    program = words[words[:1] == ["sudo"] :][:1]
                    if program and Path(program[0]).name == "sound-monitor":
                        yield page.name, words[words.index(program[0]) + 1 :]


def parse(command: Any, arguments: list[str], name: str) -> None:
    """Parse `arguments` as the program would, without running the command."""
    context = command.make_context(name, list(arguments))
    if hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, list(arguments))
        assert command is not None, name
        parse(command, rest, name)


@pytest.mark.parametrize(
    ("page", "arguments"), list(command_lines()), ids=lambda value: str(value)[:60]
)
def test_every_command_shown_can_be_parsed(page: str, arguments: list[str]) -> None:
    # Options such as --version print and exit.
    with contextlib.suppress(typer.Exit):
        parse(typer.main.get_command(build_app()), arguments, "sound-monitor")


def test_many_commands_and_configurations_are_shown() -> None:
    assert len(list(command_lines())) > 40
    assert sum(len(blocks(page, "yaml")) for page in ALL) > 5


@pytest.mark.parametrize(
    "text",
    [
        block
        for page in ALL
        for block in blocks(page, "yaml")
        if not block.startswith("automation:")  # of Home Assistant
    ],
    ids=lambda text: text[:30],
)
def test_every_configuration_shown_is_valid(text: str) -> None:
    assert set(yaml.safe_load(text)) <= set(Config.model_fields)
    parse_config(text, "docs")


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_every_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("https:"):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in map(_anchor, titles), target


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_every_page_is_linked_from_the_readme() -> None:
    text = README.read_text()
    assert all(f"(docs/{page.name})" in text for page in PAGES)
    assert "(docs/recipes/README.md)" in text


def test_every_recipe_is_linked_from_their_index() -> None:
    text = (RECIPES / "README.md").read_text()
    names = {page.name for page in RECIPES.glob("*.md")} - {"README.md"}
    assert all(f"]({name})" in text for name in names)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= LONGEST_README


def test_the_readme_states_the_true_times_of_the_demo() -> None:
    text = README.read_text()
    for sound in SCENE:
        assert f"from {sound.start_seconds} to {sound.end_seconds} s" in text


def test_the_readme_names_the_labels_of_the_shipped_model() -> None:
    (line,) = [line for line in README.read_text().splitlines() if "ten labels" in line]
    named = re.findall(r"\w+", line.partition(" are ")[2].replace(" and ", " "))
    assert tuple(named) == read_card(None).card.labels


def rows(page: str) -> list[str]:
    """First cells of the table rows of a page that begin with code."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [line.split("|")[1] for line in lines if line.startswith("| `")]


def test_every_key_of_a_record_is_documented() -> None:
    documented = {key for row in rows("records.md") for key in re.findall(r"\w+", row)}
    assert set(KEYS) <= documented


def test_every_end_reason_is_documented() -> None:
    text = (ROOT / "docs" / "records.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| `end_reason`")]
    assert set(re.findall(r"`([a-z-]+)`", row)) == set(EndReason.__args__)


def test_every_kind_of_health_is_documented() -> None:
    documented = {
        key for row in rows("health.md") for key in re.findall(r"[\w-]+", row)
    }
    assert set(HealthKind.__args__) <= documented


def test_every_module_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named: set[str] = set()
    for section in text.split("\n### ")[1:]:
        folder = section.partition("\n")[0]
        modules = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        named |= {f"{folder}/{module}.py" for module in modules}
    files = {
        str(path.relative_to(ROOT))
        for package in ("monitor", "training")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert files <= named
    assert {path for path in named if not path.endswith("__init__.py")} == files
