"""Input devices: their description, and the choice of one by name.

Only the standard library, because the capture child has to start quickly.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import SourceError

_CARDS = Path("/proc/asound")
_CARD_NUMBER = re.compile(r"\(hw:(\d+),(\d+)\)")


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that sound can be captured from."""

    name: str
    """Name that PortAudio gives; `mic:` takes any part of it."""

    host_api: str
    """ALSA, Core Audio, ..."""

    channels: int
    """Largest number of channels."""

    sample_rate: float
    """Default rate, samples a second."""

    is_default: bool
    stable_id: str | None
    """ALSA name that does not depend on other devices: hw:CARD=...,DEV=0."""

    @property
    def full_name(self) -> str:
        """Name with its host API, as in "USB Audio, ALSA"."""
        return f"{self.name}, {self.host_api}"


def choose_device(wanted: str, devices: Sequence[InputDevice]) -> int:
    """Find the one device that `wanted` means; return its place in `devices`.

    Args:
        wanted: "default" or empty; else a stable id, a name, a name with its host API
            as in "USB Audio, ALSA", or a part of them that fits only one device.  An
            exact name goes before parts of names, and case does not matter.
        devices: Everything that can be captured from.

    Raises:
        SourceError: None fits, or several do; the sentence names the candidates.
    """
    if not devices:
        raise SourceError("there is no microphone; plug one in")
    if wanted in ("", "default"):
        for index, device in enumerate(devices):
            if device.is_default:
                return index
    for fits in _matches(wanted.casefold()):
        found = [index for index, device in enumerate(devices) if fits(device)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SourceError(
                f"mic:{wanted} fits several devices: "
                f"{_listed([devices[index] for index in found])}; give more of the name"
            )
    raise SourceError(f"there is no microphone {wanted!r}, only {_listed(devices)}")


def _matches(wanted: str) -> list[Callable[[InputDevice], bool]]:
    """Return the ways to match a name, the most exact one first."""
    return [
        lambda device: wanted == (device.stable_id or "").casefold(),
        lambda device: wanted == device.name.casefold(),
        lambda device: wanted == device.full_name.casefold(),
        lambda device: wanted in device.full_name.casefold(),
        lambda device: wanted in (device.stable_id or "").casefold(),
    ]


def _listed(devices: Sequence[InputDevice]) -> str:
    return ", ".join(
        f"{device.full_name!r}" + (f" ({device.stable_id})" if device.stable_id else "")
        for device in devices
    )


def stable_id(name: str, cards: Path = _CARDS) -> str | None:
    """Name an ALSA device, such as "USB Audio: - (hw:1,0)", by its card's id.

    The number of a card may change; the kernel lists the ids in the folder `cards`.
    """
    number = _CARD_NUMBER.search(name)
    if number is None:
        return None
    try:
        card = (cards / f"card{number[1]}" / "id").read_text().strip()
    except (OSError, ValueError):
        return None
    return f"hw:CARD={card},DEV={number[2]}"
