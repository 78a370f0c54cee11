"""A fake sounddevice; the variable FAKE_PORTAUDIO sets how its devices behave.

Put the folder of this file on the module search path of the capture child.  The devices
deliver samples that count from 0, in every channel alike.
"""

import atexit
import os
import signal
import struct
import threading
import time
from types import SimpleNamespace
from typing import Any

BEHAVIOUR = os.environ["FAKE_PORTAUDIO"]
CALLBACK_SAMPLES = 441
OVERFLOW_SECONDS = 0.4

_DEVICES = [
    ("Loudspeaker", 0, 2, 48_000.0),
    ("USB Mic: Audio (hw:1,0)", 2, 0, 44_100.0),
    ("Array: Audio (hw:2,0)", 6, 0, 16_000.0),
]


# Closing a device that was unplugged may hang.
atexit.register(time.sleep, 3600)


class PortAudioError(Exception):
    """The error of the real module."""


if BEHAVIOUR == "missing":
    raise OSError("PortAudio library not found")

default = SimpleNamespace(device=[1, 0])


def _ffi_string(text: bytes) -> bytes:
    return text


def query_hostapis() -> list[dict[str, Any]]:
    return [{"name": "ALSA"}]


def query_devices(index: int | None = None) -> Any:
    devices = [
        {
            "index": place,
            "name": _name(name),
            "hostapi": 0,
            "max_input_channels": inputs,
            "max_output_channels": outputs,
            "default_samplerate": rate,
            "default_high_input_latency": 0.03,
        }
        for place, (name, inputs, outputs, rate) in enumerate(_DEVICES)
    ]
    if BEHAVIOUR == "none":
        return []
    return devices if index is None else devices[index]


def _name(name: str) -> str:
    """Decode a name as the real module does."""
    odd = b" \xc3" if BEHAVIOUR == "cut-name" else b""
    return _ffi_string(name.encode() + odd).decode()


class RawInputStream:
    """Calls back from a thread of its own, ten milliseconds at a time."""

    def __init__(self, **options: Any) -> None:
        assert options["dtype"] == "float32"
        assert options["blocksize"] == 0
        if BEHAVIOUR == "hang":
            time.sleep(3600)
        if BEHAVIOUR == "picky" and (options["channels"], options["samplerate"]) != (
            6,
            48_000,
        ):
            raise PortAudioError("Invalid number of channels [PaErrorCode -9998]")
        self.samplerate = float(options["samplerate"])
        self.channels = options["channels"]
        self._callback = options["callback"]
        self._finished = options["finished_callback"]

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        position = 0
        began = time.monotonic()
        for index in range(10**9):
            overflow = BEHAVIOUR == "overflow" and index == 51
            if overflow:
                position += round(OVERFLOW_SECONDS * self.samplerate)
            due = began + (position + CALLBACK_SAMPLES) / self.samplerate
            time.sleep(max(0.0, due - time.monotonic()))
            self._deliver(position, overflow)
            position += CALLBACK_SAMPLES
            if index == 20:
                self._misbehave()
                if BEHAVIOUR == "stop":
                    self._finished()
                    return

    def _deliver(self, position: int, overflow: bool) -> None:
        count = 0 if BEHAVIOUR == "empty" else CALLBACK_SAMPLES
        values = [
            float(position + offset)
            for offset in range(count)
            for _ in range(self.channels)
        ]
        self._callback(
            struct.pack(f"={len(values)}f", *values),
            count,
            None,
            SimpleNamespace(input_overflow=overflow),
        )

    def _misbehave(self) -> None:
        if BEHAVIOUR == "crash":
            os.kill(os.getpid(), signal.SIGABRT)
        if BEHAVIOUR == "freeze":
            time.sleep(3600)
