"""The capture child: PortAudio in a process of its own, writing samples to a pipe.

    python -m monitor.audio.sources.portaudio_child [NAME] [--sample-rate N]
        [--channels N] [--list]

PortAudio may hang, crash, or never notice a new device; then only this process is lost.
Standard output gets the bytes that `wire` describes, or with `--list` a JSON list of
devices; standard error one sentence if something fails.  The child ends when its
standard input ends: it must not outlive the monitor.  The kernel kills it if it can not
notice, because it is stopped.
"""

import argparse
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from monitor.audio.sources.devices import InputDevice, choose_device, stable_id
from monitor.audio.sources.wire import PipeHeader, encode_block
from monitor.errors import SourceError
from monitor.subreaper import die_with_parent

_LEAST_LATENCY_SECONDS = 0.1
"""Buffer asked of the sound card; a longer one survives a busier machine."""

_QUEUE_BYTES = 16 * 2**20
"""Largest queue; a longer one means that the monitor has stopped reading."""

_WRITE_SECONDS = 0.02
"""Blocks are joined until they last so long: each wakes the monitor up."""

_FALLBACK_RATES = (48_000, 44_100, 32_000, 16_000, 8_000)

_DRIFT = 1e-3
"""A sound card that is slow by a thousandth, and none is so slow, would otherwise seem
to be later and later."""


class OverflowMeter:
    """Measures how much was lost when PortAudio says only that something was.

    Without loss, a block comes when its last sample was captured, plus a delay that
    varies.  An overflow makes all later blocks come later by what was lost; the least
    delay seen before it is the measure.
    """

    def __init__(self, sample_rate: float) -> None:
        self._rate = sample_rate
        self._position = 0
        self._least_delay: float | None = None
        self._at = 0.0

    def lost_before(self, count: int, at: float, *, overflow: bool) -> int:
        """Add a block that came at `at`; return how many samples were lost before it.

        They are lost only if PortAudio reports an `overflow`.
        """
        self._position += count
        delay = at - self._position / self._rate
        if self._least_delay is None:
            self._least_delay = delay
        expected = self._least_delay + _DRIFT * (at - self._at)
        self._at = at
        lost = max(0, round((delay - expected) * self._rate)) if overflow else 0
        self._position += lost
        self._least_delay = min(expected, delay)
        return lost


@dataclass(frozen=True, slots=True)
class _Captured:
    """The block of one callback."""

    data: bytes
    count: int
    at: float
    overflow: bool
    dropped: int
    """Samples that found no room in the queue before this block."""


class _Receiver:
    """Queue between PortAudio's thread and the one that writes to the pipe."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Captured | None] = queue.SimpleQueue()
        self._dropped = 0

    def callback(self, data: Any, count: int, _time: Any, status: Any) -> None:
        """Store one block.  Runs on PortAudio's thread: copy, count, return."""
        if count == 0:
            return  # it delivers nothing, and is not open yet
        if self._queue.qsize() * len(data) >= _QUEUE_BYTES:
            self._dropped += count
            return
        block = _Captured(
            bytes(data), count, time.monotonic(), status.input_overflow, self._dropped
        )
        self._dropped = 0
        self._queue.put(block)

    def finished(self) -> None:
        """End the blocks: PortAudio has given up.  Runs on PortAudio's thread."""
        self._queue.put(None)

    def blocks(self) -> Iterator[_Captured]:
        """Wait for blocks, until the device stops."""
        while (block := self._queue.get()) is not None:
            yield block


def main() -> None:
    """Capture, or list the devices; never returns."""
    parser = argparse.ArgumentParser(prog="portaudio_child")
    parser.add_argument("device", nargs="?", default="default")
    parser.add_argument("--sample-rate", type=int)
    parser.add_argument("--channels", type=int)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    die_with_parent(signal.SIGKILL)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    code = 0
    try:
        if arguments.list:
            devices = [asdict(device) for device, _ in _input_devices(_portaudio())]
            _write(json.dumps(devices).encode())
        else:
            _capture(arguments.device, arguments.sample_rate, arguments.channels)
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
    # ALSA cuts a name after so many bytes, maybe within a character, and a single name
    # that is not UTF-8 would keep every device from being listed.
    with contextlib.suppress(AttributeError):  # of another version
        original = sounddevice._ffi_string
        sounddevice._ffi_string = lambda text: _valid_utf8(original(text))
    return sounddevice


def _valid_utf8(text: bytes) -> bytes:
    return text.decode(errors="replace").encode()


def _input_devices(portaudio: Any) -> list[tuple[InputDevice, int]]:
    """Devices that can be captured from, each with PortAudio's present index."""
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


def _capture(wanted: str, rate: int | None, channels: int | None) -> None:
    """Write the samples of the device `wanted` to the pipe until it stops."""
    portaudio = _portaudio()
    devices = _input_devices(portaudio)
    chosen = choose_device(wanted, [device for device, _ in devices])
    device, index = devices[chosen]
    receiver = _Receiver()
    stream = _open_stream(portaudio, device, index, rate, channels, receiver)
    stream.start()
    _copy(receiver, round(stream.samplerate), stream.channels)
    raise SourceError(f"microphone {device.name!r} stopped delivering")


def _open_stream(
    portaudio: Any,
    device: InputDevice,
    index: int,
    rate: int | None,
    channels: int | None,
    receiver: _Receiver,
) -> Any:
    """Open with the rate and channels asked for, else with the device's own."""
    preferred = portaudio.query_devices(index)["default_high_input_latency"]
    # Some devices have a fixed number of channels, and no other.
    channel_choices = [channels or min(2, device.channels), 1, device.channels]
    rate_choices = [rate or device.sample_rate, *_FALLBACK_RATES]
    refusal = None
    for channel_count in dict.fromkeys(channel_choices[: 1 if channels else None]):
        for sample_rate in dict.fromkeys(rate_choices[: 1 if rate else None]):
            try:
                return portaudio.RawInputStream(
                    device=index,
                    channels=channel_count,
                    samplerate=sample_rate,
                    dtype="float32",
                    blocksize=0,  # whatever suits the device; nothing depends on it
                    latency=max(_LEAST_LATENCY_SECONDS, preferred),
                    callback=receiver.callback,
                    finished_callback=receiver.finished,
                )
            except portaudio.PortAudioError as error:
                refusal = refusal or error
    raise SourceError(
        f"microphone {device.name!r} cannot be opened with "
        f"{rate or 'any'} samples a second and {channels or 'any'} channels: {refusal}"
    )


def _copy(receiver: _Receiver, sample_rate: int, channels: int) -> None:
    """Write blocks to the pipe until the device stops."""
    meter = OverflowMeter(sample_rate)
    started = False
    waiting: list[bytes] = []
    count = 0
    for block in receiver.blocks():
        lost = block.dropped + meter.lost_before(
            block.dropped + block.count, block.at, overflow=block.overflow
        )
        if not started:
            # Not before the device delivers: only then does the source count as open.
            started = True
            _write(PipeHeader(sample_rate, channels).encode())
        if lost and waiting:
            _write(encode_block(0, b"".join(waiting), channels))
            waiting, count = [], 0
        waiting.append(block.data)
        count += block.count
        if lost or count >= _WRITE_SECONDS * sample_rate:
            _write(encode_block(lost, b"".join(waiting), channels))
            waiting, count = [], 0


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
