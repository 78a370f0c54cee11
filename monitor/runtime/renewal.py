"""Settings stay the same while what they name is renewed: secrets, files."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monitor.config.settings import Settings
from monitor.sinks.alerts.secrets import CREDENTIALS_VARIABLE

Stamp = tuple[Settings, tuple[str, ...]]
"""A section, and a digest of each thing that it names."""

MOST_BYTES = 2**20
"""Looked at in a file; a secret or a certificate is shorter."""

_REFERENCE = re.compile(r"(file|env|credential):(.+)", re.DOTALL)
_FILE_KEY = re.compile(r"(.+_)?file")


def stamp_of(section: Settings, environ: Mapping[str, str]) -> Stamp:
    """What `section` says, and what its secrets and files hold now.

    Two stamps differ when one of them has changed.  No secret can be read from it.

    Args:
        section: Of the configuration.
        environ: Of the process.
    """
    named = _named(section.model_dump(), environ)
    return section, tuple(hashlib.sha256(content).hexdigest() for content in named)


def _named(value: Any, environ: Mapping[str, str], key: str = "") -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named(inner, environ, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner, environ, key)
    elif isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        if found is not None:
            yield _secret(found[1], found[2], environ)
        elif _FILE_KEY.fullmatch(key):
            yield _content(Path(value))


def _secret(kind: str, name: str, environ: Mapping[str, str]) -> bytes:
    if kind == "env":
        return environ.get(name, "").encode()
    folder = Path(environ.get(CREDENTIALS_VARIABLE, "")) if kind == "credential" else ""
    return _content(Path(folder, name))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""  # who uses it says so
