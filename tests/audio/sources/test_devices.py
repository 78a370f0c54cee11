"""A device is found by name, and never guessed."""

from pathlib import Path

import pytest

from monitor.audio.sources.devices import InputDevice, choose_device, stable_id
from monitor.errors import SourceError


def device(
    name: str, *, is_default: bool = False, card: str | None = None, api: str = "ALSA"
) -> InputDevice:
    return InputDevice(name, api, 2, 48_000.0, is_default, card)


DEVICES = [
    device("HDA Intel: ALC257 (hw:0,0)", card="hw:CARD=PCH,DEV=0"),
    device("USB Mic: Audio (hw:1,0)", card="hw:CARD=Mic,DEV=0"),
    device("USB Mic: Audio (hw:2,0)", card="hw:CARD=Mic_1,DEV=0"),
    device("pulse"),
    device("pulse monitor", is_default=True),
    device("Line", api="Jack"),
    device("Line", api="OSS"),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("default", 4),
        ("", 4),
        ("hda intel", 0),
        ("HDA Intel: ALC257 (hw:0,0)", 0),
        ("hw:CARD=Mic,DEV=0", 1),  # though it is the beginning of the other one, too
        ("hw:CARD=Mic_1,DEV=0", 2),
        ("CARD=PCH", 0),
        ("(hw:2,0)", 2),
        ("pulse", 3),  # an exact name goes before a part of one
        ("PULSE MON", 4),
        ("line, oss", 6),
    ],
)
def test_a_device_is_found(wanted: str, index: int) -> None:
    assert choose_device(wanted, DEVICES) == index


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            "usb",
            ["fits several", "hw:1,0", "hw:2,0", "hw:CARD=Mic_1,DEV=0", "give more"],
        ),
        ("Line", ["fits several", "'Line, Jack'", "'Line, OSS'"]),
        ("webcam", ["no microphone 'webcam'", "HDA Intel", "pulse monitor"]),
    ],
)
def test_the_error_of_an_ambiguous_name_lists_the_candidates(
    wanted: str, words: list[str]
) -> None:
    with pytest.raises(SourceError) as caught:
        choose_device(wanted, DEVICES)
    for word in words:
        assert word in str(caught.value)


def test_without_any_device_the_error_says_so() -> None:
    with pytest.raises(SourceError, match="there is no microphone; plug one in"):
        choose_device("default", [])


def test_without_a_default_the_only_part_that_fits_is_taken() -> None:
    assert choose_device("default", [device("x"), device("my default")]) == 1
    with pytest.raises(SourceError, match="no microphone 'default'"):
        choose_device("default", [device("x")])


def test_the_stable_id_is_that_of_the_card(tmp_path: Path) -> None:
    (tmp_path / "card1").mkdir()
    (tmp_path / "card1/id").write_text("Mic\n")
    assert stable_id("USB Mic: Audio (hw:1,3)", tmp_path) == "hw:CARD=Mic,DEV=3"
    assert stable_id("USB Mic: Audio (hw:2,0)", tmp_path) is None
    assert stable_id("pulse", tmp_path) is None
