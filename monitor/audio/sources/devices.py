"""Which input device is meant."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor.audio.sources.wire import InputDevice
from monitor.errors import SourceError

_CARDS = Path("/proc/asound")
_CARD_NUMBER = re.compile(r"\(hw:(\d+),(\d+)\)")


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
    for fits in _ways_to_fit(wanted.casefold()):
        found = [index for index, device in enumerate(devices) if fits(device)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SourceError(
                f"mic:{wanted} fits several devices: "
                f"{_listed([devices[index] for index in found])}; say more of the name"
            )
    raise SourceError(f"there is no microphone {wanted!r}, only {_listed(devices)}")


def _ways_to_fit(wanted: str) -> list[Callable[[InputDevice], bool]]:
    return [
        lambda device: wanted == (device.stable_id or "").casefold(),
        lambda device: wanted == device.name.casefold(),
        lambda device: wanted == _full_name(device).casefold(),
        lambda device: wanted in _full_name(device).casefold(),
        lambda device: wanted in (device.stable_id or "").casefold(),
    ]


def _full_name(device: InputDevice) -> str:
    return f"{device.name}, {device.host_api}"


def _listed(devices: Sequence[InputDevice]) -> str:
    return ", ".join(
        f"{_full_name(device)!r}"
        + (f" ({device.stable_id})" if device.stable_id else "")
        for device in devices
    )


def stable_id(name: str, cards: Path = _CARDS) -> str | None:
    """Name an ALSA device by its card's id instead of its number, which may change.

    Args:
        name: As PortAudio tells it: "USB Audio: - (hw:1,0)".
        cards: Where the kernel tells the ids.
    """
    number = _CARD_NUMBER.search(name)
    if number is None:
        return None
    try:
        card = (cards / f"card{number[1]}" / "id").read_text().strip()
    except OSError:
        return None
    return f"hw:CARD={card},DEV={number[2]}"
