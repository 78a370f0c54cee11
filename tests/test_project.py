"""The promises that the repository makes about itself."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from monitor import __version__
from monitor.commands.app import COMMANDS
from tests.support import ROOT

README = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""
CI = (ROOT / ".ci" / "run").read_text()

TOP_LEVEL = {
    "monitor",
    "training",
    "tests",
    "systemd",
    "packaging",
    "docs",
    "config.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
}
MOST_LINES = 400


def tracked_files() -> list[Path]:
    """Files under version control; in a tree without git, those of the packages."""
    if shutil.which("git"):
        listing = ["git", "ls-files", "-z"]
        git = subprocess.run(
            listing, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if git.returncode == 0:
            names = [name for name in git.stdout.split("\0") if name]
            return [Path(name) for name in names if (ROOT / name).exists()]
    found = [ROOT / "config.yaml"]
    for package in ("monitor", "training", "tests"):
        found += (ROOT / package).rglob("*.py")
    return [path.relative_to(ROOT) for path in found]


def commands(language: str = "sh") -> list[str]:
    """The lines of the shell blocks of the README."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def test_the_first_screen_of_the_readme_installs_and_starts() -> None:
    first_screen = "\n".join(README.splitlines()[:40])
    assert "\npip install . && sound-monitor run --input demo:\n" in first_screen
    assert "\npip install '.[test]' && pytest\n" in first_screen


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (test_command,) = [line for line in commands() if line.endswith("pytest")]
    assert f"\n{test_command}\n" in CI


def test_ci_names_no_machine() -> None:
    assert "://" not in CI
    assert not re.search(r"/(work|opt|home|root)\b", CI)


def test_every_command_in_the_readme_exists() -> None:
    shown = {
        match[1]
        for line in commands()
        if (match := re.search(r"\bsound-monitor ([a-z-]+)", line))
    }
    assert {"run", "analyze", "devices", "check", "train", "evaluate"} <= shown
    assert shown <= COMMANDS.keys()


def test_every_command_is_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"sound-monitor {name}" in README, name


def test_the_changelog_has_a_section_for_the_version_or_the_next_one() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}]" in changelog or "## [Unreleased]" in changelog


def test_the_top_level_holds_only_the_listed_names() -> None:
    names = {path.parts[0] for path in tracked_files()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("package", ["monitor", "training", "tests"])
def test_no_file_is_longer_than_400_lines(package: str) -> None:
    long = {
        str(path): lines
        for path in tracked_files()
        if path.parts[0] == package and path.suffix == ".py"
        if (lines := len((ROOT / path).read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_both_packages_are_in_the_wheel_and_the_command_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["monitor", "training"]
    assert project["project"]["scripts"] == {"sound-monitor": "monitor.__main__:main"}


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_portaudio_is_imported_by_one_file() -> None:
    importing = [
        str(path)
        for path in tracked_files()
        if path.suffix == ".py" and path.parts[0] in ("monitor", "training")
        if re.search(
            r"^\s*(import|from) sounddevice", (ROOT / path).read_text(), re.MULTILINE
        )
    ]
    assert importing == ["monitor/audio/sources/portaudio_child.py"]
