"""Settings of the roll out: where bundles come from, and who may sign them."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from monitor.config.base import Settings, Text, check_url_parts

KEY_BYTES = 32
"""Length of an ed25519 public key."""

_FILE = "file:"
_SCHEMES = ("https://", "http://")
_NO_LOGIN = "bundles are fetched without a login, and protected by their signature"


def _is_place(text: str) -> str:
    if text.startswith(_FILE):
        if not text.startswith("file:/"):
            raise ValueError("must be an absolute path after file:, as file:/srv/fleet")
        return text
    if not text.lower().startswith(_SCHEMES):
        raise ValueError("must begin with https://, http:// or file:/")
    check_url_parts(text, ("https", "http"), _NO_LOGIN)
    return text


def _is_key(text: str) -> str:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            "must be a public key of 44 characters, as `sound-monitor rollout key` "
            "prints it"
        )
    return text


PublicKey = Annotated[Text, AfterValidator(_is_key)]


class RolloutSettings(Settings):
    """Signed bundles of settings and a model for a fleet; needs the extra `rollout`."""

    url: Annotated[Text, AfterValidator(_is_place)] | None = None
    """http:// or https:// URL of the bundle, or file:PATH; null: no bundle is used."""

    public_keys: Annotated[tuple[PublicKey, ...], Field(strict=False)] = ()
    """Keys that may sign bundles, as `sound-monitor rollout key` prints them; several
    of them during a rotation.
    """

    every_seconds: Annotated[float, Field(ge=1, le=604_800)] = 900.0
    """Interval of looking for a new bundle, up to a tenth more or less."""

    watch_seconds: Annotated[float, Field(ge=1, le=604_800)] = 1800.0
    """Trial of a new bundle: a health problem that begins in this time, or a second
    restart, brings back what was before.
    """

    @property
    def path(self) -> str | None:
        """The path of a bundle in a file; None: it has a URL, or there is none."""
        url = self.url or ""
        return url.removeprefix(_FILE) if url.startswith(_FILE) else None

    @model_validator(mode="after")
    def _bundles_are_signed(self) -> "RolloutSettings":
        if self.url is not None and not self.public_keys:
            raise ValueError("url needs public_keys: a bundle is used only if signed")
        return self
