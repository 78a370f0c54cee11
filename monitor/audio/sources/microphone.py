"""A microphone, captured by PortAudio in a child process."""

import json
import os
import sys
import sysconfig
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.audio.sources.child_process import ChildProcess
from monitor.audio.sources.devices import InputDevice
from monitor.audio.sources.source import STALL_SECONDS, Lost
from monitor.audio.sources.wire import PipeParser
from monitor.errors import SourceError, UsageError

if TYPE_CHECKING:
    from monitor.audio.ring import Samples

_CHILD = "monitor.audio.sources.portaudio_child"
_PACKAGES = Path(__file__).parents[3]

_OPENING_SECONDS = 6.0
"""PortAudio probes every device; a sound server may take seconds to start one."""

_LIST_SECONDS = 10.0
_EXIT_SECONDS = 0.5


class Microphone:
    """An input device of this machine, present or not."""

    opening_seconds = _OPENING_SECONDS
    stall_seconds = STALL_SECONDS

    def __init__(
        self, device: str, sample_rate: int | None = None, channels: int | None = None
    ) -> None:
        """Prepare to capture from `device`.

        Args:
            device: "default", part of a name, or a stable id.
            sample_rate: Samples a second; None: the device's default.
            channels: Number of channels; None: one or two.

        Raises:
            UsageError: `device` is a number.
        """
        if device.isdecimal():
            raise UsageError(
                f"mic:{device}: numbers of devices change when something is plugged "
                "in; give the name, or a part of it, that 'sound-monitor devices' shows"
            )
        device = device or "default"
        self._arguments = ["--", device]
        if sample_rate is not None:
            self._arguments.insert(0, f"--sample-rate={sample_rate}")
        if channels is not None:
            self._arguments.insert(0, f"--channels={channels}")
        self.description = f"microphone {device!r}"

    def open(self) -> "MicrophoneStream":
        """Start the child.

        Raises:
            SourceError: It does not start.
        """
        return MicrophoneStream(_start_child(*self._arguments), self.description)


class MicrophoneStream:
    """The samples of one capture child."""

    def __init__(self, child: ChildProcess, description: str) -> None:
        self.pid = child.pid
        self.sample_rate = self.channels = 0  # known once samples were read
        self._child = child
        self._description = description
        self._parser = PipeParser()
        self._waiting: deque[Samples | Lost] = deque()

    def read(self, timeout_seconds: float) -> "Samples | Lost | None":
        """Wait for samples; see `SourceStream`.

        Raises:
            SourceError: The child ended; the sentence is its own, if it left one.
        """
        if not self._waiting:
            data = self._child.read(timeout_seconds)
            if data == b"":
                raise SourceError(_failure(self._child, f"{self._description}: "))
            if data is not None:
                self._parse(data)
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def _parse(self, data: bytes) -> None:
        # Not above: `check` asks only for the devices, and numpy takes its time.
        import numpy as np

        try:
            blocks = self._parser.push(data)
        except ValueError as error:
            raise SourceError(
                f"{self._description}: the capture process wrote invalid data"
            ) from error
        if self._parser.header is not None:
            self.sample_rate = self._parser.header.sample_rate
            self.channels = self._parser.header.channels
        for block in blocks:
            if block.lost:
                self._waiting.append(Lost(block.lost))
            flat = np.frombuffer(block.data, np.float32)
            if len(flat):
                samples = np.ascontiguousarray(flat.reshape(-1, self.channels).T)
                self._waiting.append(samples)


def list_devices() -> list[InputDevice]:
    """List everything that sound can be captured from now, in PortAudio's order.

    Takes up to some seconds: a child is started, because in one process the list never
    changes.

    Raises:
        SourceError: PortAudio is missing, or does not answer.
    """
    child = _start_child("--list")
    try:
        answer = b""
        while data := child.read(_LIST_SECONDS):
            answer += data
        if data is None:
            raise SourceError(
                f"PortAudio did not list its devices in {_LIST_SECONDS:.0f} s"
            )
        if child.wait(_EXIT_SECONDS) != 0:
            raise SourceError(_failure(child))
        return [InputDevice(**entry) for entry in json.loads(answer)]
    finally:
        child.close()


def _failure(child: ChildProcess, prefix: str = "") -> str:
    """Return the sentence that the child left, else how it ended."""
    if child.wait(_EXIT_SECONDS) == 1 and child.last_lines:
        return child.last_lines[-1]
    return f"{prefix}the capture process {child.ending(0)}"


def _start_child(*arguments: str) -> ChildProcess:
    # -P: a module in the working folder must not take the place of ours.
    argv = [sys.executable, "-P", "-m", _CHILD, *arguments]
    environment = dict(os.environ)
    if Path(sysconfig.get_path("purelib")) != _PACKAGES:  # not installed
        paths = [str(_PACKAGES), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return ChildProcess(argv, environment, keep_stdin_open=True)
