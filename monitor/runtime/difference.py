"""What another configuration changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from monitor.config.config import Config, SourceSettings
from monitor.config.settings import Settings

T = TypeVar("T", bound=Settings)

_APART = frozenset({"sources", "alerts", "detection", "training"})
"""Sections that are compared in detail, or that do not concern a monitor."""

_OPENING = ("input", "sample_rate", "channels", "sample_format")
"""Settings with which a source is opened."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names that come, go or stand for something else from now on."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def describe(self, what: str) -> list[str]:
        """Phrases for people, such as "sources added: yard"."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return [
            f"{what} {kind}: {', '.join(names)}"
            for kind, names in kinds.items()
            if names
        ]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a configuration changes against the one before."""

    sources: Names
    """Changed ones are opened anew."""

    adjusted: tuple[str, ...]
    """Sources that go on with other settings."""

    rules: Names
    thresholds: tuple[str, ...]
    """Labels that become events in another way."""

    settings: tuple[str, ...]
    """Other sections and settings that changed."""

    @property
    def sentence(self) -> str:
        """All of it for people; empty: nothing changed."""
        lists = {
            "sources adjusted": self.adjusted,
            "thresholds changed": self.thresholds,
            "settings changed": self.settings,
        }
        phrases = self.sources.describe("sources") + self.rules.describe("rules")
        phrases += [f"{what}: {', '.join(n)}" for what, n in lists.items() if n]
        return "; ".join(phrases)


def compare(before: Config, after: Config) -> Difference:
    """Find what `after` changes."""
    detection, wanted = before.detection, after.detection
    return Difference(
        _names(_named(before.sources), _named(after.sources), must_reopen),
        _names(_named(before.sources), _named(after.sources), _is_adjusted).changed,
        _names(_named(before.alerts), _named(after.alerts), _differs),
        tuple(
            label
            for label in {**detection.labels, **wanted.labels}
            if detection.labels.get(label) != wanted.labels.get(label)
        ),
        (
            *(
                f"detection.{key}"
                for key in _changed_keys(detection, wanted)
                if key != "labels"
            ),
            *(key for key in _changed_keys(before, after) if key not in _APART),
        ),
    )


def must_reopen(before: SourceSettings, after: SourceSettings) -> bool:
    """Whether a source has to be opened anew to become what `after` says."""
    return any(getattr(before, key) != getattr(after, key) for key in _OPENING)


def _is_adjusted(before: SourceSettings, after: SourceSettings) -> bool:
    return before != after and not must_reopen(before, after)


def _differs(before: Settings, after: Settings) -> bool:
    return before != after


def _changed_keys(before: Settings, after: Settings) -> list[str]:
    keys = type(before).model_fields
    return [key for key in keys if getattr(before, key) != getattr(after, key)]


def _named(entries: Sequence[Any]) -> Mapping[str, Any]:
    return {entry.name: entry for entry in entries}


def _names(
    before: Mapping[str, T], after: Mapping[str, T], changes: Callable[[T, T], bool]
) -> Names:
    return Names(
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple(
            name
            for name in after
            if name in before and changes(before[name], after[name])
        ),
    )
