"""Signatures after Standard Webhooks, https://www.standardwebhooks.com."""

import base64
import binascii
import hmac
from collections.abc import Sequence

from monitor.errors import ConfigError

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret, as the specification asks."""


def read_keys(text: str, place: str) -> list[bytes]:
    """Read signing secrets: whsec_ and Base64, with white space between them.

    Raises:
        ConfigError: One of them is of another form; the message does not hold it.
    """
    keys = []
    for number, word in enumerate(text.split(), 1):
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(
                f"{place}: secret {number} is not {PREFIX} followed by Base64"
            ) from None
        if not SHORTEST <= len(key) <= LONGEST:
            raise ConfigError(
                f"{place}: secret {number} has {len(key)} bytes; from {SHORTEST} to "
                f"{LONGEST} are needed, as from: openssl rand -base64 32"
            )
        keys.append(key)
    return keys


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message with every key, so that either end may change first."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (hmac.digest(key, content, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures)
