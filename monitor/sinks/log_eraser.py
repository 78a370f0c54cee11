"""Deleting lines of an event log while it may be written."""

import json
import os
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any


def erase_lines(path: Path, since: datetime | None) -> int:
    """Delete the lines about what lies after `since`, also in the rotated files.

    A line without a time of day is kept, unless `since` is None: then all go.  A line
    that is appended in the instant of the deletion may go too.

    Returns:
        How many lines are gone.

    Raises:
        OSError: A file cannot be written.
    """
    erased = 0
    for file in _files(path):
        erased += _erase(file, since)
    return erased


def _files(path: Path) -> list[Path]:
    files = [path] if path.exists() else []
    for number in count(1):
        rotated = path.with_name(f"{path.name}.{number}")
        if not rotated.exists():
            return files
        files.append(rotated)
    raise AssertionError


def _erase(file: Path, since: datetime | None) -> int:
    lines = file.read_bytes().splitlines(keepends=True)
    goes = [since is None or _is_after(line, since) for line in lines]
    if not any(goes):
        return 0
    first = goes.index(True)
    kept = [line for line, gone in zip(lines, goes, strict=True) if not gone][first:]
    # The writer appends, so it goes on behind whatever is left.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.ftruncate(descriptor, sum(map(len, lines[:first])))
        os.write(descriptor, b"".join(kept))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return sum(goes)


def _is_after(line: bytes, since: datetime) -> bool:
    try:
        fields: Any = json.loads(line)
        moment = fields.get("end") or fields.get("start")
        return moment is not None and datetime.fromisoformat(moment) >= since
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return False
