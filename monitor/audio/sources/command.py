"""Samples that another program writes to its standard output."""

import shlex
import shutil
from collections import deque

from monitor.audio.ring import Samples
from monitor.audio.sources.child_process import ChildProcess
from monitor.audio.sources.pcm import Decoded, PcmFormat, WavOrRawDecoder
from monitor.audio.sources.source import STALL_SECONDS
from monitor.errors import EndOfSourceError, SourceError, UsageError

_OPENING_SECONDS = 10.0
"""Time a command has until its first byte: it may have to reach another machine."""

_BLOCK_SECONDS = 0.02
"""Shortest block that is worth a step of the resampler."""

_EXIT_SECONDS = 0.2


class Command:
    """A program that writes WAV or raw PCM: arecord, ffmpeg, nc."""

    opening_seconds = _OPENING_SECONDS
    stall_seconds = STALL_SECONDS

    def __init__(self, command: str, raw: PcmFormat) -> None:
        """Check that `command` can be run.

        Args:
            command: Program and arguments, quoted as for a shell; none is involved.
            raw: Format of the samples if there is no WAV header.

        Raises:
            UsageError: There is no such program.
        """
        try:
            self._argv = shlex.split(command)
        except ValueError as error:
            raise UsageError(
                f"command:{command}: it cannot be split into arguments "
                f"({str(error).lower()})"
            ) from error
        if not self._argv:
            raise UsageError("command: names no program; for example command:arecord")
        if shutil.which(self._argv[0]) is None:
            raise UsageError(
                f"command:{command}: there is no program {self._argv[0]!r} that may "
                "be run; install it, or give its whole path"
            )
        self._raw = raw
        self.description = f"command {self._argv[0]!r}"

    def open(self) -> "CommandStream":
        """Start the program.

        Raises:
            SourceError: It does not start.
        """
        return CommandStream(self._argv, self._raw, self.description)


class CommandStream:
    """The samples of one run of a program."""

    def __init__(
        self, argv: list[str], raw: PcmFormat, description: str, script: bytes = b""
    ) -> None:
        """Start the program, which reads `script` from its standard input."""
        self._description = description
        self._format = raw
        self._decoder = WavOrRawDecoder(raw)
        self._process = ChildProcess(argv, script=script)
        self._waiting: deque[Decoded] = deque()
        self.pid = self._process.pid

    @property
    def sample_rate(self) -> int:
        """Samples a second of the latest block, for the next may be another WAV."""
        return self._format.sample_rate

    @property
    def channels(self) -> int:
        """Channels of the latest block."""
        return self._format.channels

    def read(self, timeout_seconds: float) -> Samples | None:
        """Wait for samples; see `SourceStream`.

        Raises:
            EndOfSourceError: The program ended with exit code 0.
            SourceError: It ended otherwise, or its output cannot be decoded.
        """
        if not self._waiting:
            self._read(timeout_seconds)
        if not self._waiting:
            return None
        self._format, samples = self._waiting.popleft()
        return samples

    def _read(self, timeout_seconds: float) -> None:
        enough = round(_BLOCK_SECONDS * self.sample_rate) * self._format.frame_bytes
        data = self._process.read(timeout_seconds, enough)
        if data:
            try:
                self._waiting.extend(self._decoder.push(data))
            except SourceError as error:
                raise SourceError(f"{self._description}: {error}") from error
        elif data is not None:
            raise self._failure(self._process.ending(_EXIT_SECONDS))

    def _failure(self, ending: str | None) -> SourceError | EndOfSourceError:
        """The error for the end of the program; None is an end without any trouble."""
        if ending is None:
            return EndOfSourceError(f"{self._description} ended")
        return SourceError(f"{self._description} {ending}")

    def close(self) -> None:
        """End the program and everything it started."""
        self._process.close()
