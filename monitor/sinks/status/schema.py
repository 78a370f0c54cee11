"""The form in which a monitor tells how it is doing, also if it says nothing."""

from typing import Any

SCHEMA = 1

Document = dict[str, Any]


def silence(sentence: str, *, running: bool | None, pid: int | None = None) -> Document:
    """What there is to say of a monitor that says nothing itself.

    Args:
        sentence: For people.
        running: Whether there is a process; None: that is unknown.
        pid: Of the process.
    """
    return {
        "schema": SCHEMA,
        "running": running,
        "listening": False,
        "sentence": sentence,
        "pid": pid,
    }
