"""The secrets that the configuration refers to."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from monitor.config.audio import SourceSettings
from monitor.config.hooks import check_url
from monitor.errors import ConfigError

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
MAX_BYTES = 65_536


def read_secret(reference: str, place: str, environ: Mapping[str, str]) -> str:
    """Read the secret that `reference` names, without the newline at its end.

    Args:
        reference: file:PATH, env:NAME or credential:NAME (of the service manager).
        place: Key path of the setting, for messages.
        environ: Environment variables of the process.

    Raises:
        ConfigError: It is missing, empty, too long or not text; the message holds the
            reference and never the secret.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        if not environ.get(name):
            raise ConfigError(f"{place}: the variable {name} is not set")
        return environ[name]
    if kind == "credential":
        folder = environ.get(CREDENTIALS_VARIABLE)
        if not folder:
            raise ConfigError(
                f"{place}: {reference}: ${CREDENTIALS_VARIABLE} is not set; give the "
                f"unit LoadCredential={name}:PATH, or a shell the folder of the file "
                f"{name} in this variable"
            )
        return _read_file(Path(folder) / name, place)
    return _read_file(Path(name), place)


def source_password(
    source: SourceSettings, environ: Mapping[str, str]
) -> Callable[[], str] | None:
    """Return what reads the password of a source; None: it has none."""
    reference = source.password
    if reference is None:
        return None
    return lambda: read_secret(reference, "password", environ)


def read_one_line(reference: str, place: str, environ: Mapping[str, str]) -> str:
    """Read a secret for a header.

    Raises:
        ConfigError: As `read_secret`; or it is not one line of printable ASCII.
    """
    secret = read_secret(reference, place, environ)
    if not re.fullmatch(r"[\x20-\x7e]+", secret):
        raise ConfigError(f"{place}: {reference}: is not one line of printable ASCII")
    return secret


def read_url(
    url: str | None, reference: str | None, place: str, environ: Mapping[str, str]
) -> str:
    """Return `url`, else the URL in the secret that `reference` names.

    Raises:
        ConfigError: As `read_one_line`; or it is not a URL.
    """
    if url is not None:
        return url
    assert reference is not None, "the settings have one of them"
    key = f"{place}.url_secret"
    try:
        return check_url(read_one_line(reference, key, environ))
    except ValueError as error:
        raise ConfigError(f"{key}: {reference}: {error}") from None


def _read_file(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{place}: {str(path)!a} is not a file name") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{place}: {path} is longer than {MAX_BYTES} bytes")
    try:
        secret = data.decode().strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: {path} is not text in UTF-8") from None
    if not secret:
        raise ConfigError(f"{place}: {path} is empty")
    return secret


def hide_secrets(
    settings: Mapping[str, Any], environ: MutableMapping[str, str] = os.environ
) -> None:
    """Take all secrets that `settings` name out of `environ`.

    Child processes inherit what is left: source commands and command hooks are other
    people's programs.  Whoever reads the secrets needs a copy made before.
    """
    names = {name for kind, name in _references(settings) if kind == "env"}
    for name in (CREDENTIALS_VARIABLE, *names):
        environ.pop(name, None)


MOST_FILE_BYTES = 2**20
"""Bytes read of a file; secrets and certificates are shorter."""

_REFERENCE = re.compile(r"(file|env|credential):(.+)", re.DOTALL)
_FILE_KEY = re.compile(r"(.+_)?file")


def digest_of_contents(settings: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Digest of all secrets and files that `settings` name, as they are now.

    The settings may stay the same while a secret or a certificate is renewed.
    """
    digest = hashlib.sha256()
    for content in _contents(settings, environ):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _contents(
    settings: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[bytes]:
    for kind, name in _references(settings):
        yield _secret(kind, name, environ)


def _references(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All references to secrets, as kind and name; other files are of kind `file`."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _references(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner, key)
    elif isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        if found is not None:
            yield found[1], found[2]
        elif _FILE_KEY.fullmatch(key):
            yield "file", value


def _secret(kind: str, name: str, environ: Mapping[str, str]) -> bytes:
    if kind == "env":
        return environ.get(name, "").encode()
    folder = Path(environ.get(CREDENTIALS_VARIABLE, "")) if kind == "credential" else ""
    return _head(Path(folder, name))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_FILE_BYTES)
    except OSError:
        return b""  # reported where the file is used
