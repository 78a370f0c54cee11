"""The capture child: PortAudio in a process of its own, writing samples to a pipe.

    python -m monitor.audio.sources.portaudio_child [NAME] [--sample-rate N]
        [--channels N] [--list]

PortAudio may hang, crash, or never notice a new device; then only this process is lost.
Standard output gets what `pipe` describes, or with `--list` a JSON list of devices;
standard error one sentence if something fails.  The child ends when its standard input
ends: it must not outlive the monitor.
"""

import argparse
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from monitor.audio.sources.devices import choose_device, stable_id
from monitor.audio.sources.wire import (
    InputDevice,
    OverflowMeter,
    PipeHeader,
    encode_block,
)
from monitor.errors import SourceError

_LEAST_LATENCY_SECONDS = 0.1
"""Buffer asked of the sound card; a longer one survives a busier machine."""

_QUEUE_BYTES = 16 * 2**20
"""More than this waiting means that the monitor has stopped reading long ago."""

_WRITE_SECONDS = 0.02
"""Blocks are joined until they last so long: each wakes the monitor up."""

_FALLBACK_RATES = (48_000, 44_100, 32_000, 16_000, 8_000)


@dataclass(frozen=True, slots=True)
class _Request:
    device: str
    sample_rate: int | None
    channels: int | None


@dataclass(frozen=True, slots=True)
class _Captured:
    """What one callback delivered."""

    data: bytes
    count: int
    at: float
    overflow: bool
    dropped: int
    """Samples that found no room in the queue before this block."""


class _Receiver:
    """Where PortAudio's thread leaves its blocks."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Captured | None] = queue.SimpleQueue()
        self._dropped = 0

    def callback(self, data: Any, count: int, _time: Any, status: Any) -> None:
        """Store one block.  Runs on PortAudio's thread: copy, count, return."""
        if self._queue.qsize() * len(data) >= _QUEUE_BYTES:
            self._dropped += count
            return
        block = _Captured(
            bytes(data), count, time.monotonic(), status.input_overflow, self._dropped
        )
        self._dropped = 0
        self._queue.put(block)

    def finished(self) -> None:
        """Take note that PortAudio has given up.  Runs on PortAudio's thread."""
        self._queue.put(None)

    def blocks(self) -> Iterator[_Captured]:
        """Wait for blocks, until the device stops."""
        while (block := self._queue.get()) is not None:
            yield block


def main() -> None:
    """Do what the arguments say; never returns."""
    parser = argparse.ArgumentParser(prog="portaudio_child")
    parser.add_argument("device", nargs="?", default="default")
    parser.add_argument("--sample-rate", type=int)
    parser.add_argument("--channels", type=int)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    code = 0
    try:
        if arguments.list:
            devices = [asdict(device) for device, _ in _input_devices(_portaudio())]
            _write(json.dumps(devices).encode())
        else:
            _capture(
                _Request(arguments.device, arguments.sample_rate, arguments.channels)
            )
    except BrokenPipeError:
        pass  # the monitor has gone
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.stderr.flush()
    # Leaving properly would ask PortAudio to close the device, which may hang.
    os._exit(code)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _portaudio() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise SourceError(
            f"PortAudio cannot be loaded ({error}); install it, on Debian with "
            "'apt-get install libportaudio2'"
        ) from error
    return sounddevice


def _input_devices(portaudio: Any) -> list[tuple[InputDevice, int]]:
    """Devices that can be captured from, each with PortAudio's index of the day."""
    apis = portaudio.query_hostapis()
    default = portaudio.default.device[0]
    return [
        (
            InputDevice(
                name=entry["name"],
                host_api=apis[entry["hostapi"]]["name"],
                channels=entry["max_input_channels"],
                sample_rate=entry["default_samplerate"],
                is_default=entry["index"] == default,
                stable_id=stable_id(entry["name"]),
            ),
            entry["index"],
        )
        for entry in portaudio.query_devices()
        if entry["max_input_channels"] > 0
    ]


def _capture(request: _Request) -> None:
    portaudio = _portaudio()
    devices = _input_devices(portaudio)
    chosen = choose_device(request.device, [device for device, _ in devices])
    device, index = devices[chosen]
    receiver = _Receiver()
    stream = _open_stream(portaudio, device, index, request, receiver)
    meter = OverflowMeter(stream.samplerate)
    header = PipeHeader(round(stream.samplerate), stream.channels, device.name)
    stream.start()
    _copy(receiver, meter, header)
    raise SourceError(f"microphone {device.name!r} stopped delivering")


def _open_stream(
    portaudio: Any,
    device: InputDevice,
    index: int,
    request: _Request,
    receiver: _Receiver,
) -> Any:
    """Open with what was asked for, else with what the device likes best."""
    refusal = None
    for channels in _channels_to_try(device, request.channels):
        for rate in _rates_to_try(device, request.sample_rate):
            try:
                return portaudio.RawInputStream(
                    device=index,
                    channels=channels,
                    samplerate=rate,
                    dtype="float32",
                    blocksize=0,  # whatever suits the device; nothing depends on it
                    latency=max(
                        _LEAST_LATENCY_SECONDS,
                        portaudio.query_devices(index)["default_high_input_latency"],
                    ),
                    callback=receiver.callback,
                    finished_callback=receiver.finished,
                )
            except portaudio.PortAudioError as error:
                refusal = refusal or error
    raise SourceError(
        f"microphone {device.name!r} cannot be opened with "
        f"{request.sample_rate or 'any'} samples a second and "
        f"{request.channels or 'any'} channels: {refusal}"
    )


def _channels_to_try(device: InputDevice, wanted: int | None) -> list[int]:
    if wanted is not None:
        return [wanted]
    # Some devices have a fixed number, and no other.
    return list(dict.fromkeys([min(2, device.channels), 1, device.channels]))


def _rates_to_try(device: InputDevice, wanted: int | None) -> list[float]:
    if wanted is not None:
        return [wanted]
    return list(dict.fromkeys([device.sample_rate, *_FALLBACK_RATES]))


def _copy(receiver: _Receiver, meter: OverflowMeter, header: PipeHeader) -> None:
    """Write blocks to the pipe until the device stops."""
    started = False
    waiting: list[bytes] = []
    count = 0
    for block in receiver.blocks():
        lost = block.dropped + meter.lost_before(
            block.dropped + block.count, block.at, overflow=block.overflow
        )
        if not started:
            # Not before the device delivers: to be open means to be heard.
            started, lost = True, 0
            _write(header.encode())
        if lost and waiting:
            _write(encode_block(0, b"".join(waiting), header.channels))
            waiting, count = [], 0
        waiting.append(block.data)
        count += block.count
        if lost or count >= _WRITE_SECONDS * header.sample_rate:
            _write(encode_block(lost, b"".join(waiting), header.channels))
            waiting, count = [], 0


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
