"""The capture child delivers, fails and ends, whatever PortAudio does.

The child is the real one; PortAudio is `tests/support/fake_portaudio`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from monitor.audio.ring import Samples
from monitor.audio.sources.devices import InputDevice
from monitor.audio.sources.microphone import Microphone, MicrophoneStream, list_devices
from monitor.audio.sources.source import Lost
from monitor.errors import SourceError, UsageError
from tests.support import ROOT
from tests.support.source_programs import DEADLINE_SECONDS, wait_for_end

FAKE = ROOT / "tests/support/fake_portaudio"

Behave = Callable[[str], None]


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> Behave:
    """Set how PortAudio behaves in the children that are started from now on."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE))

    def behave(how: str) -> None:
        monkeypatch.setenv("FAKE_PORTAUDIO", how)

    behave("well")
    return behave


def next_item(stream: MicrophoneStream) -> Samples | Lost:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        item = stream.read(0.5)
        if item is not None:
            return item
    raise AssertionError("nothing came")


def failure_of(microphone: Microphone) -> str:
    """Read until the stream fails; return its sentence."""
    with closing(microphone.open()) as stream:
        try:
            while True:
                next_item(stream)
        except SourceError as error:
            return str(error)


def test_samples_come_without_hole_with_the_rate_of_the_device(
    portaudio: Behave,
) -> None:
    with closing(Microphone("default").open()) as stream:
        blocks = [next_item(stream) for _ in range(5)]
        assert (stream.sample_rate, stream.channels) == (44_100, 2)
    arrays = [block for block in blocks if isinstance(block, np.ndarray)]
    samples = np.concatenate(arrays, axis=1)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples[0], np.arange(samples.shape[1]))
    np.testing.assert_array_equal(samples[1], samples[0])


def test_rate_and_channels_can_be_asked_for(portaudio: Behave) -> None:
    with closing(Microphone("array", 32_000, 4).open()) as stream:
        block = next_item(stream)
        assert (stream.sample_rate, stream.channels) == (32_000, 4)
        assert isinstance(block, np.ndarray)
        assert block.shape[0] == 4


def test_a_device_that_supports_one_format_is_opened_in_it(portaudio: Behave) -> None:
    portaudio("picky")
    with closing(Microphone("array").open()) as stream:
        next_item(stream)
        assert (stream.sample_rate, stream.channels) == (48_000, 6)


def test_a_format_that_the_device_refuses_is_an_error(portaudio: Behave) -> None:
    portaudio("picky")
    sentence = failure_of(Microphone("array", 44_100))
    assert "'Array: Audio (hw:2,0)' cannot be opened with 44100 samples" in sentence
    assert "Invalid number of channels" in sentence


def test_an_overflow_is_a_loss_in_its_place(portaudio: Behave) -> None:
    portaudio("overflow")
    with closing(Microphone("usb").open()) as stream:
        position = 0
        while not isinstance(item := next_item(stream), Lost):
            assert item[0, 0] == position
            position += item.shape[1]
        after = next_item(stream)
    assert isinstance(after, np.ndarray)
    truly_lost = after[0, 0] - position
    assert truly_lost == round(0.4 * 44_100)
    assert item.count == pytest.approx(truly_lost, abs=0.1 * 44_100)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("stop", "microphone 'USB Mic: Audio (hw:1,0)' stopped delivering"),
        ("crash", "microphone 'default': the capture process was killed by SIGABRT"),
        ("none", "there is no microphone; plug one in"),
        ("missing", "PortAudio cannot be loaded (PortAudio library not found); inst"),
    ],
)
def test_a_failure_is_an_error_of_one_sentence(
    portaudio: Behave, behaviour: str, words: str
) -> None:
    portaudio(behaviour)
    assert failure_of(Microphone("")).startswith(words)


def test_the_error_of_an_absent_microphone_lists_those_that_are_there(
    portaudio: Behave,
) -> None:
    sentence = failure_of(Microphone("-webcam"))
    assert "no microphone '-webcam', only 'USB Mic: Audio (hw:1,0), ALSA'" in sentence


@pytest.mark.parametrize("behaviour", ["hang", "freeze"])
def test_a_portaudio_that_hangs_is_silence_and_can_be_closed(
    portaudio: Behave, behaviour: str
) -> None:
    portaudio(behaviour)
    stream = Microphone("default").open()
    if behaviour == "freeze":
        next_item(stream)
    while stream.read(0.3) is not None:
        pass
    stream.close()
    wait_for_end(stream.pid)


def test_empty_blocks_are_no_delivery(portaudio: Behave) -> None:
    portaudio("empty")
    with closing(Microphone("default").open()) as stream:
        assert [stream.read(0.3) for _ in range(5)] == [None] * 5
        assert stream.sample_rate == 0  # it is not open


def test_a_stopped_child_can_be_closed(portaudio: Behave) -> None:
    stream = Microphone("default").open()
    next_item(stream)
    os.kill(stream.pid, signal.SIGSTOP)
    stream.close()
    wait_for_end(stream.pid)


@pytest.mark.parametrize("behaviour", ["well", "hang", "stopped"])
def test_the_child_does_not_outlive_a_monitor_that_was_killed(
    portaudio: Behave, behaviour: str
) -> None:
    portaudio("well" if behaviour == "stopped" else behaviour)
    wait = "while stream.read(1) is None: pass" if behaviour == "stopped" else ""
    code = (
        "import time\n"
        "from monitor.audio.sources.microphone import Microphone\n"
        "stream = Microphone('default').open()\n"
        f"{wait}\n"
        "print(stream.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE
    ) as monitor:
        assert monitor.stdout is not None
        pid = int(monitor.stdout.readline())
        if behaviour == "stopped":
            os.kill(pid, signal.SIGSTOP)
        monitor.kill()
    wait_for_end(pid)


def test_devices_are_listed_without_those_that_only_play(portaudio: Behave) -> None:
    assert list_devices() == [
        InputDevice("USB Mic: Audio (hw:1,0)", "ALSA", 2, 44_100.0, True, None),
        InputDevice("Array: Audio (hw:2,0)", "ALSA", 6, 16_000.0, False, None),
    ]
    portaudio("none")
    assert list_devices() == []


def test_a_name_that_was_cut_within_a_character_hides_no_device(
    portaudio: Behave,
) -> None:
    """ALSA cuts names after so many bytes."""
    portaudio("cut-name")
    assert [device.name for device in list_devices()] == [
        "USB Mic: Audio (hw:1,0) \ufffd",
        "Array: Audio (hw:2,0) \ufffd",
    ]


def test_a_list_without_portaudio_is_an_error(portaudio: Behave) -> None:
    portaudio("missing")
    with pytest.raises(SourceError, match="PortAudio cannot be loaded"):
        list_devices()


def test_a_device_number_is_rejected() -> None:
    with pytest.raises(UsageError, match="mic:3: numbers of devices change"):
        Microphone("3")


def test_a_module_in_the_working_folder_does_not_replace_ours(
    portaudio: Behave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('trapped')")
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor/__init__.py").write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(tmp_path)
    assert len(list_devices()) == 2


def test_the_child_starts_without_numpy(portaudio: Behave) -> None:
    """It is started again and again while a microphone is missing."""
    code = (
        "import sys, monitor.audio.sources.portaudio_child\n"
        "print([name for name in ('numpy', 'pydantic', 'soundfile', 'soxr')"
        " if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "[]\n"
