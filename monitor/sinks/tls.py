"""Who is believed to be the other end of an encrypted connection."""

import ssl

from monitor.errors import ConfigError


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
