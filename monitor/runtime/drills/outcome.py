"""What a drill found out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from monitor.errors import SoundMonitorError

Say = Callable[[str], None]
"""Takes a sentence about what a drill is doing now."""


class DrillError(SoundMonitorError):
    """A drill failed, or could not be held: the sentence says what was missing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one drill ended."""

    drill: str
    passed: bool
    sentence: str
    """What was seen, for people."""

    recovery_seconds: float | None = None
    """From when the trouble was over, or began, to when all was well again."""

    facts: dict[str, Any] = field(default_factory=dict)
    """The same in numbers."""
