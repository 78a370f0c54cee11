"""The bundle file: settings and a model for the monitors of a fleet, signed.

    sound-monitor bundle 1
    PUBLIC KEY, base64
    SIGNATURE, base64
    {"version": 12, "share": 0.1, "settings": {...}, "model_bytes": 2696117}
    the bytes of the model file

The signature (ed25519) is over the first line, the key and the SHA-512 of everything
after the signature, so nothing is parsed that is not signed.  There is no archive
inside: no names, links or sizes of files to be led astray by.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, model_validator

from monitor.config.base import Settings
from monitor.config.bundle import BundleSettings
from monitor.config.load import check_settings
from monitor.config.rollout import KEY_BYTES
from monitor.errors import SoundMonitorError
from monitor.private_files import FILE_MODE
from monitor.text import first_fault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAGIC = b"sound-monitor bundle 1\n"
MOST_BYTES = 2**27
"""Largest bundle, 128 MiB; a model file has half of that at most."""

MOST_MANIFEST_BYTES = 2**20
_SIGNATURE_BYTES = 64
_COPY_BYTES = 2**20


class BundleError(SoundMonitorError):
    """A bundle is not what it must be; nothing of it is used."""


class BundleManifest(Settings):
    """The signed facts of a bundle."""

    version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Number of the bundle; a monitor never takes a lower one than it has seen."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the fleet that uses it."""

    settings: BundleSettings = BundleSettings()
    model_bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)] | None = None
    """Length of the model file; None: there is none."""

    @model_validator(mode="after")
    def _model_is_there(self) -> "BundleManifest":
        if self.settings.uses_own_model != (self.model_bytes is not None):
            raise ValueError(
                "a model must be in the bundle if and only if model or models name it"
            )
        return self

    def is_for(self, monitor: str) -> bool:
        """Whether a monitor is in the share: always the same ones for a version."""
        digest = hashlib.sha256(f"{monitor}\n{self.version}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64 < self.share


def _encode(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode() + b"\n"


class Bundle(NamedTuple):
    """A bundle whose signature is valid."""

    manifest: BundleManifest
    key: str
    """The public key that it is signed with."""

    digest: str
    """Identifies its settings and its model, whatever its share."""

    model_start: int
    """Place of the model in the file."""


def read_bundle(path: Path, keys: Collection[str] | None) -> Bundle:
    """Verify a bundle, and read what it says.

    Args:
        path: The file; nothing else may write to it.
        keys: The public keys that may sign it; None: any.

    Raises:
        BundleError: It is not signed by one of them, or not a bundle of this form.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise BundleError(f"it is larger than {MOST_BYTES} bytes")
        if file.readline(len(MAGIC)) != MAGIC:
            raise BundleError("it is not a bundle, or one for a newer version")
        key = _decoded(file, KEY_BYTES)
        signature = _decoded(file, _SIGNATURE_BYTES)
        start = file.tell()
        name = base64.b64encode(key).decode()
        if keys is not None and name not in keys:
            raise BundleError(f"it is signed with another key, {name}")
        digest = hashlib.file_digest(file, "sha512").digest()
        if not _is_signed(key, signature, digest):
            raise BundleError("its signature is wrong: it was changed or cut off")
        file.seek(start)
        manifest, content = _parse(file.readline(MOST_MANIFEST_BYTES))
        start = file.tell()
        if os.fstat(file.fileno()).st_size - start != (manifest.model_bytes or 0):
            raise BundleError("its model is longer or shorter than it says")
        model = hashlib.file_digest(file, "sha256").digest()
        return Bundle(
            manifest, name, hashlib.sha256(content + model).hexdigest(), start
        )


def _decoded(file: IO[bytes], count: int) -> bytes:
    """Read a line of base64 that has one spelling only."""
    line = file.readline(2 * _SIGNATURE_BYTES)
    try:
        value = base64.b64decode(line.removesuffix(b"\n"), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != count or base64.b64encode(value) + b"\n" != line:
        raise BundleError("it is not a bundle, or it was changed or cut off")
    return value


def _is_signed(key: bytes, signature: bytes, digest: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(key)
        public.verify(signature, _signed(key, digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed(key: bytes, digest: bytes) -> bytes:
    return MAGIC + key + digest


def _parse(line: bytes) -> tuple[BundleManifest, bytes]:
    """Return a manifest, and all of it but the share, which may grow."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BundleError("its first line is not a JSON object")
    try:
        manifest = check_settings(BundleManifest, data, "bundle")
    except SoundMonitorError as error:
        raise BundleError(first_fault(str(error))) from None
    return manifest, _encode({key: data[key] for key in data if key != "share"})


def copy_model(path: Path, bundle: Bundle, target: Path) -> None:
    """Write the model of a bundle into a file of its own.

    Raises:
        OSError: It cannot be written.
    """
    target.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with (
        path.open("rb") as file,
        os.fdopen(os.open(target, flags, FILE_MODE), "wb") as model,
    ):
        file.seek(bundle.model_start)
        while part := file.read(_COPY_BYTES):
            model.write(part)
        model.flush()
        os.fsync(model.fileno())


def write_bundle(
    path: Path, manifest: BundleManifest, model: bytes, key: "Ed25519PrivateKey"
) -> None:
    """Sign a bundle, and write it beside before it takes its place.

    Raises:
        OSError: It cannot be written.
    """
    payload = _encode(manifest.model_dump(mode="json", exclude_unset=True)) + model
    public = key.public_key().public_bytes_raw()
    signature = key.sign(_signed(public, hashlib.sha512(payload).digest()))
    beside = path.with_name(f".{path.name}.new")
    lines = (base64.b64encode(it) + b"\n" for it in (public, signature))
    beside.write_bytes(MAGIC + b"".join(lines) + payload)
    beside.replace(path)
