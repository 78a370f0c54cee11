"""What only the main thread of the daemon knows, for those who tell it."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Watchdog:
    """How the watchdog of the service manager is doing."""

    limit_seconds: float
    """Without a word for so long, the monitor is ended."""

    put_off: float
    """When it was put off, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The latest time that the configuration was read anew."""

    at: datetime
    """UTC."""

    is_taken: bool
    detail: str
    """What was changed, or why it was refused."""


@dataclass(slots=True)
class DaemonFacts:
    """Written by the main thread, read by any: each value is replaced as a whole."""

    configuration: str = ""
    """The file, or that there is none."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    pid: int = field(default_factory=os.getpid)
    watchdog: Watchdog | None = None
    reload: Reload | None = None
