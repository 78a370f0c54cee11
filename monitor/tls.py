"""TLS: the certificates that are trusted, and why there is no connection."""

import os
import re
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


def no_connection(target: str, error: BaseException | None) -> str:
    """Say why there is no connection to `target`."""
    import ssl

    kind = "TLS connection" if isinstance(error, ssl.SSLError) else "connection"
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
    elif isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif number := re.search(r"\[Errno (\d+)\]", str(error)):
        reason = os.strerror(int(number[1]))  # asyncio has words of its own
    return f"no {kind} to {target}: {reason}"
