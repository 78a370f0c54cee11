"""Passwords of the web page: a scrypt hash for each role, in private files."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from monitor.config.web import WebSettings
from monitor.errors import UsageError
from monitor.private_files import read_regular, write_private
from monitor.web.addresses import is_loopback

Role = Literal["owner", "viewer"]
ROLES: tuple[Role, ...] = ("owner", "viewer")
"""The owner may change what the commands change; the viewer only looks."""

SHORTEST, LONGEST = 8, 256

# OWASP's second choice for scrypt: 8 MiB for a tenth of a second, on a device with
# little memory.
_COST, _BLOCK, _PARALLEL = 2**13, 8, 10
_SALT_BYTES = 16
_MOST_BYTES = 4096
_SCHEME = "scrypt"


@dataclass(frozen=True, slots=True)
class Passwords:
    """The hashes of the files; without any they admit nobody."""

    hashes: Mapping[Role, str]
    """Hash by role."""

    def role_of(self, password: str) -> Role | None:
        """Return whose password it is; None: nobody's.

        Takes the same time whether it is right or wrong.  Blocks for tenths of a
        second: not for the event loop.
        """
        found: Role | None = None
        for role in ROLES:
            if role not in self.hashes:
                continue
            salt, expected = _parts(self.hashes[role])
            is_right = hmac.compare_digest(_hash(password, salt), expected)
            if is_right and found is None:
                found = role
        return found


def _parts(text: str) -> tuple[bytes, bytes]:
    """Return salt and hash; for a missing one, values that nothing equals."""
    try:
        scheme, salt, digest = text.split("$")
        if scheme == _SCHEME:
            return base64.b64decode(salt), base64.b64decode(digest)
    except ValueError:
        pass
    return bytes(_SALT_BYTES), b""


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=_COST,
        r=_BLOCK,
        p=_PARALLEL,
        maxmem=2**25,
        dklen=32,
    )


class PasswordFiles:
    """The file of each role; `web --set-password` writes them."""

    def __init__(self, paths: Mapping[Role, Path]) -> None:
        """Name the files, which may not exist."""
        self._paths = paths

    def version(self) -> object:
        """Return what changes with every change of a file."""
        return [_version(path) for path in self._paths.values()]

    def read(self) -> Passwords | None:
        """Read the hashes; None: there is no password.

        Raises:
            UsageError: A file cannot be read, or is not one of a password.
        """
        hashes = {}
        for role, path in self._paths.items():
            if (text := _read(path)) is not None:
                hashes[role] = text
        return Passwords(hashes) if hashes else None

    def write(self, role: Role, password: str) -> None:
        """Set the password of a role.  The owner of the folder owns the file.

        Raises:
            UsageError: It is too short or too long, it is that of another role, or a
                file cannot be read or written.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise UsageError(
                f"the password has {len(password)} characters; it needs {SHORTEST} to "
                f"{LONGEST}"
            )
        for other in self._paths.keys() - {role}:
            known = _read(self._paths[other])
            if known and Passwords({other: known}).role_of(password):
                raise UsageError(
                    f"this is the password of the {other} already: it would be of no "
                    f"use to the {role}; choose another one"
                )
        path = self._paths[role]
        salt = secrets.token_bytes(_SALT_BYTES)
        parts = [_SCHEME, *map(_text, (salt, _hash(password, salt)))]
        try:
            write_private(path, "$".join(parts) + "\n")
            if os.geteuid() == 0:  # the service runs as another user
                owner = path.parent.stat()
                os.chown(path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def needs_password(settings: WebSettings) -> bool:
    """Return True if others than this machine reach the page, and nobody asks them."""
    if settings.proxy_signs_in:
        return False
    return settings.trusted_proxy is not None or not is_loopback(settings.address[0])


def _read(path: Path) -> str | None:
    """Read the hash in a file; None: there is no file."""
    try:
        text = read_regular(path, _MOST_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(f"{path}: is a link that leads nowhere") from None
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if not all(_parts(text)):
        raise UsageError(
            f"{path}: is not the hash of a password; delete it, and set the password "
            "again with `sound-monitor web --set-password`"
        )
    return text


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
