"""Damage to database files."""

import os
from pathlib import Path

PAGE_BYTES = 4096


def damage_page(path: Path, content: bytes) -> int:
    """Overwrite the last page that holds `content`; return its number."""
    data = path.read_bytes()
    place = data.rindex(content)
    page = place // PAGE_BYTES
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)
        os.fsync(file.fileno())
    return page
