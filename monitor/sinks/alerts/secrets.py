"""Secrets: read from where the configuration says they are, and kept out of texts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from monitor.errors import ConfigError

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
MOST_BYTES = 65_536


def read_secret(reference: str, place: str, environ: Mapping[str, str]) -> str:
    """Read what `reference` points to, without the newline at its end.

    Args:
        reference: file:PATH, env:NAME or credential:NAME (of the service manager).
        place: Key path of the setting, for messages.
        environ: Of the process.

    Raises:
        ConfigError: It is missing, empty, too long or no text; the message holds the
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
                f"unit LoadCredential={name}:PATH"
            )
        return _read_file(Path(folder) / name, place)
    return _read_file(Path(name), place)


def read_one_line(reference: str, place: str, environ: Mapping[str, str]) -> str:
    """Read a secret that goes into a header.

    Raises:
        ConfigError: As `read_secret`; or it is not one line of printable ASCII.
    """
    secret = read_secret(reference, place, environ)
    if not re.fullmatch(r"[\x20-\x7e]+", secret):
        raise ConfigError(f"{place}: {reference}: is not one line of printable ASCII")
    return secret


def redact_url(url: str) -> str:
    """Scheme, host and port: a path or a query may be as secret as a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "?", parts.port
    except ValueError:
        return "a URL"
    host = f"[{host}]" if ":" in host else host
    more = "/..." if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{more}"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Put *** for every secret in a text that came from elsewhere."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def _read_file(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{place}: {str(path)!a} is no name of a file") from None
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{place}: {path} is longer than {MOST_BYTES} bytes")
    try:
        secret = data.decode().strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: {path} is not text in UTF-8") from None
    if not secret:
        raise ConfigError(f"{place}: {path} is empty")
    return secret
