"""Secrets: read from where the configuration says they are, and kept out of texts.

Keeps secrets out of texts that come from sources and programs.

Packages that only some hooks need, and that are not installed by default.

Who is believed to be the other end of an encrypted connection.
"""

import importlib.util
import re
import ssl
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


_USER = re.compile(r"(?<=//)[^/@\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+")
_NAMED = re.compile(
    r"((?:password|passwd|secret|token|api[-_]?key|authorization)[=:]\s*(?:basic\s+)?"
    r"(?:bearer\s+)?|bearer\s+)[^\s'\"&,;]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Put *** for users and queries of URLs, and for what is named as a secret.

    The last words of a program may hold the address that it was given.
    """
    text = _USER.sub("***@", text)
    text = _QUERY.sub(r"\1***", text)
    return _NAMED.sub(r"\1***", text)


PACKAGES = {
    "apprise": "apprise",
    "paho": "paho-mqtt",
    "prometheus_client": "prometheus-client",
}
"""Names of packages by the modules in them."""


def require_extra(extra: str, module: str, place: str) -> None:
    """Make sure that `module` can be imported.

    Args:
        extra: Of this program, as in sound-monitor[mqtt].
        module: That comes with it, one of PACKAGES.
        place: Key path of the section that needs it, for the message.

    Raises:
        ConfigError: It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"{place}: {PACKAGES[module]} is not installed: "
            f"pip install 'sound-monitor[{extra}]'"
        )


def tls_context(ca_file: str | None, place: str) -> ssl.SSLContext:
    """Trust the certificates in `ca_file`; None: those of the system.

    Args:
        ca_file: In PEM form.
        place: Of the setting's section in the configuration, for what is said.

    Raises:
        ConfigError: The file cannot be read, or holds no certificates.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        problem = "holds no certificates in PEM form"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise ConfigError(f"{place}.ca_file: {ca_file} {problem}")
