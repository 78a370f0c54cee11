"""The certificate of a camera: verified in a child process, which then runs ffmpeg.

    python -I -S certificate.py HOST PORT CA_FILE ARGV...

ffmpeg 4 to 7 take no notice of a certificate by RTSP, whatever they are told, later
ones may not look at its name, and none compares it with one in a file, whatever its
name.  So with every version a connection of its own verifies it just before each of
ffmpeg's.  In a child, because looking up a name can take half a minute.

The file runs on its own and needs only the standard library, because it has to start
quickly.
"""

import contextlib
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 8.0
"""Wait for the other machine, as that of ffmpeg."""

_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNEXPECTED_EOF_WHILE_READING",
)
"""Reasons of OpenSSL for an answer that is none of TLS."""

_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def command_line(
    host: str, port: int, ca_file: str | None, argv: Sequence[str]
) -> list[str]:
    """Return the arguments that run `argv` once the certificate is verified.

    Otherwise the reason goes to the standard error, in the form of ffmpeg's lines.
    """
    ours = [sys.executable, "-I", "-S", __file__, host, str(port), ca_file or ""]
    return [*ours, *argv]


def verify(host: str, port: int, ca_file: str | None) -> None:
    """Verify the certificate at `host`.

    It is trusted by its authority and its name, as those of web pages; or because it is
    itself in `ca_file`, whatever its name and its dates: cameras make up their own.

    Raises:
        ssl.SSLError: It is not trusted, or there is no common form of TLS.
        OSError: The host cannot be reached, or the file cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    try:
        _certificate(context, host, port)
    except ssl.SSLCertVerificationError:
        if ca_file is None:
            raise
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        known = _PEM.findall(Path(ca_file).read_text(encoding="latin-1"))
        if _certificate(context, host, port) not in [
            ssl.PEM_cert_to_DER_cert(each) for each in known
        ]:
            raise


def _names(host: str, port: int, ca_file: str | None) -> str:
    """Return the names of the certificate at `host`, whose authority is trusted."""
    context = ssl.create_default_context(cafile=ca_file)
    context.check_hostname = False
    with (
        socket.create_connection((host, port), _SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secure,
    ):
        known = (secure.getpeercert() or {}).get("subjectAltName", ())
        return ", ".join(str(name[1]) for name in known)


def _certificate(context: ssl.SSLContext, host: str, port: int) -> bytes | None:
    with (
        socket.create_connection((host, port), _SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True)


def _main(host: str, port: str, ca_file: str, *argv: str) -> None:
    try:
        verify(host, int(port), ca_file or None)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
        if "mismatch" in reason:
            with contextlib.suppress(OSError):
                reason += f"; its names: {_names(host, int(port), ca_file or None)}"
        sys.exit(f"[error] certificate verify failed: {reason}")
    except ssl.SSLError as error:
        what = "no TLS at this port" if error.reason in _NO_TLS else "TLS failed"
        reason = str(error.reason).lower().replace("_", " ")
        sys.exit(f"[error] {what}: {reason}")
    except TimeoutError:
        sys.exit("[error] Connection timed out")
    except OSError as error:
        sys.exit(f"[error] {error.strerror or error}")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python
        signal.signal(number, signal.SIG_DFL)
    os.execvp(argv[0], argv)  # noqa: S606 - ffmpeg, no shell


if __name__ == "__main__":
    _main(*sys.argv[1:])
