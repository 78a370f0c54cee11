"""The files of the container as data: the steps of the Containerfile, and compose."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT

FOLDER = ROOT / "packaging" / "container"
CONTAINERFILE = FOLDER / "Containerfile"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
STATE = "/var/lib/sound-monitor"


def instructions(path: Path = CONTAINERFILE) -> list[tuple[str, str]]:
    """Each instruction with its arguments, in one line, in their order."""
    lines = [line for line in path.read_text().splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word, rest)
        for line in joined.splitlines()
        if line
        for word, _, rest in [line.partition(" ")]
    ]


def values(word: str) -> list[str]:
    """The arguments of every instruction `word`."""
    return [rest for instruction, rest in instructions() if instruction == word]


def base_image() -> str:
    """Name and tag of the image that the Containerfile begins with."""
    (base,) = [value for value in values("ARG") if value.startswith("BASE=")]
    return base.removeprefix("BASE=")


def extras() -> list[str]:
    """The extras that compose.yaml builds the image with."""
    return str(SERVICES["monitor"]["build"]["args"]["EXTRAS"]).split(",")
