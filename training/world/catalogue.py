"""The catalogue of the model world: labels, and the recordings that measure them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from monitor.config.base import Settings
from monitor.config.load import check_settings
from monitor.config.strict_yaml import read_yaml
from monitor.errors import DatasetError
from monitor.model.catalogue import CatalogueEntry

PATH = Path(__file__).parent / "catalogue.yaml"

Names = Annotated[tuple[str, ...], Field(strict=False)]


class Entry(Settings):
    """A label."""

    text: str
    """A sentence on what it is."""

    classes: Names
    """Names of the classes of AudioSet that it is made of."""

    preset: Literal["impulsive", "lasting"] = "lasting"
    """Detection rules for its kind of sound."""

    group: str | None = None
    """Label that reports it and others as one."""

    clips: Names = ()
    """Labels of recordings that have it, for figures."""

    also: Names = ()
    """Labels of recordings that may have it, and say nothing."""

    places: Names = ()
    """Words in the names of recordings of places in which it may sound."""

    def may_sound_in(self, place: str) -> bool:
        """True if it may sound in a recording of this name."""
        return any(word.lower() in place.lower() for word in self.places)

    def for_card(self, labels: Mapping[str, str]) -> CatalogueEntry:
        """Return it as the card of a model has it; `labels` are those of classes.

        Raises:
            DatasetError: They lack one of its classes.
        """
        lacking = [name for name in self.classes if name not in labels]
        if lacking:
            raise DatasetError(f"--classes: the table lacks the class {lacking[0]!r}")
        return CatalogueEntry(
            text=self.text,
            classes=tuple(labels[name] for name in self.classes),
            preset=self.preset,
            group=self.group,
        )


def read_catalogue(path: Path = PATH) -> dict[str, Entry]:
    """Read a catalogue.

    Raises:
        ConfigError: It breaks a rule.
    """
    data = read_yaml(path.read_text(encoding="utf-8"), path.name).data
    return {
        label: check_settings(Entry, entry, f"{path.name}: {label}")
        for label, entry in data.items()
    }
