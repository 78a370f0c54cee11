"""The capture thread on PortAudio and a real sound server, which come and go."""

import os
import shlex
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from monitor.audio.ring import Samples
from monitor.audio.sources.microphone import list_devices
from monitor.config.audio import SourceSettings
from tests.support.capture_reader import CaptureReader, running_capture
from tests.support.pulse import PulseServer
from tests.support.signals import sine

pytestmark = pytest.mark.soundcard

RATE = 44_100
TONE_HZ = 1_000.0
AMPLITUDE = 0.5
PACKAGES = {"arecord": "alsa-utils", "ffmpeg": "ffmpeg", "parec": "pulseaudio-utils"}


def capturing(text: str) -> AbstractContextManager[CaptureReader]:
    return running_capture(SourceSettings(name="street", input=text), RATE)


def play_tone(server: PulseServer) -> None:
    server.play_samples(sine(TONE_HZ, 60.0, AMPLITUDE, channels=2), RATE)


def is_tone(newest: Samples) -> bool:
    """Return whether 1024 samples are the tone, at its pitch and level."""
    spectrum = np.abs(np.fft.rfft(newest * np.hanning(1024)))
    pitch = np.argmax(spectrum) * RATE / 1024
    return bool(
        abs(pitch - TONE_HZ) < RATE / 1024
        and abs(np.abs(newest).max() - AMPLITUDE) < 0.05
    )


def ends_with_tone(reader: CaptureReader) -> bool:
    """Return whether the newest samples are the tone, however small the blocks."""
    last = reader.blocks[-8:]
    unbroken = all(a.stop == b.start for a, b in pairwise(last))
    samples = np.concatenate([block.samples[0] for block in last] or [np.zeros(0)])
    return unbroken and len(samples) >= 1024 and is_tone(samples[-1024:])


def wait_for_tone(reader: CaptureReader) -> None:
    """Wait until the newest samples are the tone, whatever came before."""
    reader.items.clear()
    reader.wait_until(lambda: ends_with_tone(reader))


def wait_for_state(reader: CaptureReader, state: str) -> None:
    reader.wait_until(lambda: state in reader.states)


def capture_child() -> int:
    """Return the process id of the only child that captures."""
    (pid,) = (
        int(pid)
        for listing in Path("/proc/self/task").glob("*/children")
        for pid in listing.read_text().split()
        if b"portaudio_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return pid


@pytest.mark.parametrize("name", ["pulse", "default"])
def test_a_tone_that_is_played_is_captured(pulse: PulseServer, name: str) -> None:
    play_tone(pulse)
    with capturing(f"mic:{name}") as reader:
        wait_for_tone(reader)
        first = next(iter(reader.blocks))
        assert first.samples.shape[0] == 2
        assert not reader.gaps


def test_the_devices_are_listed(pulse: PulseServer) -> None:
    devices = {device.name: device for device in list_devices()}
    assert devices["pulse"].host_api == "ALSA"
    assert devices["pulse"].channels >= 2
    assert sum(device.is_default for device in devices.values()) == 1


def end_server(server: PulseServer) -> None:
    server.kill()


def end_child(server: PulseServer) -> None:
    os.kill(capture_child(), signal.SIGKILL)


def freeze_child(server: PulseServer) -> None:
    os.kill(capture_child(), signal.SIGSTOP)


@pytest.mark.parametrize("end", [end_server, end_child, freeze_child])
def test_sound_is_captured_again_after_a_failure(
    pulse: PulseServer, end: Callable[[PulseServer], None]
) -> None:
    play_tone(pulse)
    with capturing("mic:pulse") as reader:
        wait_for_tone(reader)
        end(pulse)
        wait_for_state(reader, "waiting")
        if end is end_server:
            pulse.start()
            play_tone(pulse)
        gaps = reader.gaps
        wait_for_tone(reader)
        gaps += reader.gaps
    assert gaps
    assert {gap.reason for gap in gaps} <= {"ended", "stalled", "unplugged"}


def test_a_microphone_that_is_missing_at_first_is_waited_for(
    pulse: PulseServer,
) -> None:
    pulse.kill()
    with capturing("mic:pulse") as reader:
        wait_for_state(reader, "waiting")
        assert "there is no microphone" in reader.sentences[-1]
        pulse.start()
        play_tone(pulse)
        wait_for_tone(reader)


@pytest.mark.parametrize(
    "command",
    [
        "arecord -q -D pulse -t wav -f S16_LE -r 48000 -c 2",
        "arecord -q -D pulse -t raw -f S16_LE -r 44100 -c 1",
        "ffmpeg -v error -f pulse -i street.monitor -f wav -c:a pcm_s24le -",
        "parec -d street.monitor --format=s16le --rate=44100 --channels=1",
    ],
)
def test_the_output_of_other_recorders_is_captured(
    pulse: PulseServer, command: str
) -> None:
    program = shlex.split(command)[0]
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: apt install {PACKAGES[program]}")
    play_tone(pulse)
    with capturing(f"command:{command}") as reader:
        wait_for_tone(reader)
