"""A reader of a log that grows and is rotated, like a log shipper."""

import json
import os
from itertools import count
from pathlib import Path
from typing import Any


class Tail:
    """Reads whole lines of `path`, and of the files it is rotated to, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the lines appended since the last call, decoded."""
        found = self._read_on()
        while (following := self._following()) is not None:
            # Lines may have come between reading and looking for the next file.
            found += self._read_on()
            assert self._rest == b"", "a rotated file ends in the middle of a line"
            os.close(self._descriptor)
            self._descriptor = following
            found += self._read_on()
        return found

    def close(self) -> None:
        os.close(self._descriptor)

    def _read_on(self) -> list[dict[str, Any]]:
        data = self._rest
        while block := os.read(self._descriptor, 65_536):
            data += block
        *lines, self._rest = data.split(b"\n")
        return [json.loads(line) for line in lines]

    def _following(self) -> int | None:
        """Open the file that is one younger than the one being read, if there is one.

        None also in the middle of a rotation; then the next call finds it.
        """
        mine = os.fstat(self._descriptor)
        younger = self._path
        for number in count(1):
            name = self._path.with_name(f"{self._path.name}.{number}")
            try:
                if _is(name, mine):
                    following = os.open(younger, os.O_RDONLY)
                    if _is(name, mine):
                        return following
                    os.close(following)  # renamed meanwhile: it may be one too young
                    return None
            except FileNotFoundError:
                return None
            younger = name
        raise AssertionError


def _is(name: Path, status: os.stat_result) -> bool:
    return os.path.samestat(name.stat(), status)
