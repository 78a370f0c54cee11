"""TLS: the certificates that are trusted."""

from typing import TYPE_CHECKING

from monitor.errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext


def tls_context(ca_file: str | None, place: str) -> "SSLContext":
    """Trust the certificates in `ca_file`; None: those of the system.

    Raises:
        ConfigError: The file, which `place` names, cannot be read, or holds no
            certificates.
    """
    import ssl  # takes a few milliseconds

    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        problem = "holds no certificates in PEM form"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise ConfigError(f"{place}: {ca_file} {problem}")
