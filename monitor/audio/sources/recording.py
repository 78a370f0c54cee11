"""A recording in a file of any format that libsndfile reads, read once to its end."""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.containers import Extent, extent_of
from monitor.audio.sources.source import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from monitor.errors import AudioFileError, UsageError
from monitor.text import path_text, printable

_WAV = (b"RIFF", b"RF64")
_FFMPEG_READS_FIRST = (*_WAV, b"riff", b"FORM", b"caff")
"""Beginnings of files of which ffmpeg, too, reads only the first recording."""

_MOST_SAMPLES = 1 << 60
"""libsndfile states more where it does not know the length."""


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]  # has no types
    """A file that is read from beginning to end.

    In one that can seek, soundfile seeks to where it already is after each read, and an
    MP3 decoder begins anew there: a click at every edge of a block.
    """

    def seekable(self) -> bool:
        return False


class Recording:
    """A recording in a file, read once from its beginning to its end.

    All parts of the program read recordings with it, and so agree on what is whole.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            UsageError: There is no such file, or it may not be read.
            AudioFileError: It is not a recording, or has no samples.
        """
        self.extent: Extent | None = None
        """Set at the end: whole or unknown."""

        self._name = printable(path_text(path))
        self._delivered = 0
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise UsageError(f"{self._name}: not a regular file; name a recording")
            # Besides, libsndfile does not say why the system refuses a file.
            self._file = path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{self._name}: there is no such file") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{self._name}: {_reason(error)}") from None
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self._sound = self._open(path)
        except BaseException:
            self._file.close()
            raise
        self.sample_rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        self._file.close()

    def read(self, count: int) -> Samples:
        """Return the next samples, at most `count`; none at the end.

        Returns:
            float32, shape (channels, n).

        Raises:
            AudioFileError: The recording is damaged; or its end is reached, and the
                file lacks a part of it or goes on behind it.
        """
        # Beyond that, the FLAC decoder takes what follows for damage.
        count = min(count, self._sound.frames - self._delivered)
        try:
            block = self._sound.read(count, dtype="float32", always_2d=True)
            if len(block) == 0:
                self._check_end()
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(
                f"{self._name}: the recording is damaged ({_reason(error)}); the "
                f"{self._seconds} before that were read; ffmpeg may read more: "
                f"{_conversion(self._name)}",
                "damaged",
            ) from error
        self._delivered += len(block)
        return np.ascontiguousarray(block.T)  # (channels, n)

    def blocks(self, count: int) -> Iterator[Samples]:
        """Read the rest, at most `count` samples at a time; raises as `read` does."""
        while (block := self.read(count)).shape[1]:
            yield block

    @property
    def _seconds(self) -> str:
        return f"{self._delivered / self.sample_rate:.2f} s"

    def _check_end(self) -> None:
        if os.fstat(self._file.fileno()).st_size != self._size:
            raise AudioFileError(
                f"{self._name}: the file changed while it was read; the "
                f"{self._seconds} that it had before were read",
                "changed",
            )
        extent, sound = self._extent(self._delivered), self._sound
        # The length of MPEG audio may be an estimate.
        if (
            self._delivered < sound.frames < _MOST_SAMPLES
            and "MPEG" not in sound.subtype
        ):
            extent = "cut off"
        if extent == "cut off":
            raise AudioFileError(
                f"{self._name}: the recording stops before its end; the "
                f"{self._seconds} that it has were read",
                extent,
            )
        if extent == "joined":
            raise AudioFileError(
                f"{self._name}: the file goes on after the {self._seconds} that were "
                f"read (were files joined?); {self._separation()}",
                extent,
            )
        self.extent = extent

    def _extent(self, delivered: int | None = None) -> Extent:
        def read(position: int, count: int) -> bytes:
            if position >= self._size:  # a length in a header may be anything
                return b""
            self._file.seek(position)
            return self._file.read(count)

        return extent_of(read, self._size, delivered)

    def _open(self, path: Path) -> _SoundFile:
        if self._size == 0:
            raise AudioFileError(f"{self._name}: the file is empty", "empty")
        if path.suffix.lower() == ".raw":
            source = shlex.quote(f"command:cat {shlex.quote(self._name)}")
            raise AudioFileError(
                f"{self._name}: a raw file does not say what it holds; use {source} "
                "with sample_rate, channels and sample_format"
            )
        try:
            sound = _SoundFile(os.fsencode(path))  # soundfile encodes strictly
        except (soundfile.SoundFileError, OSError) as error:
            raise self._unreadable(_reason(error)) from error
        fault = self._fault(sound)
        if fault is not None:
            sound.close()
            reason = "unreadable" if sound.frames else "empty"
            raise AudioFileError(f"{self._name}: the recording {fault}", reason)
        return sound

    def _unreadable(self, reason: str) -> AudioFileError:
        extent = self._extent()
        if extent == "cut off":
            return AudioFileError(
                f"{self._name}: the recording stops before its end, and what it has "
                f"cannot be read ({reason})",
                extent,
            )
        if extent == "joined":
            return AudioFileError(
                f"{self._name}: several recordings in one file cannot be read "
                f"({reason}); {self._separation()}",
                extent,
            )
        if self._magic() == b"BW64":
            reason = "BW64 is unknown to libsndfile"
        argument = _ffmpeg_argument(self._name)
        source = f"command:ffmpeg -v error -re -i {argument} -f wav -"
        return AudioFileError(
            f"{self._name}: not a recording that can be read ({reason}); if it is one, "
            f"convert it: {_conversion(self._name)}; or listen to it: --input "
            f"{shlex.quote(source)}"
        )

    def _magic(self) -> bytes:
        self._file.seek(0)
        return self._file.read(4)

    def _separation(self) -> str:
        if self._magic() in _FFMPEG_READS_FIRST:
            return "split the file"
        return f"for all of it: {_conversion(self._name)}"

    def _fault(self, sound: _SoundFile) -> str | None:
        if sound.frames == 0:
            if self._extent() == "cut off":
                return "stops before its first sample"
            if self._magic() not in _WAV:
                return "has no samples"
            source = shlex.quote(f"command:cat {shlex.quote(self._name)}")
            return (
                f"has no samples, as its header says; if it was cut off, try {source}"
            )
        if not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE:
            return (
                f"has {sound.samplerate} samples a second; {LOWEST_RATE} to "
                f"{HIGHEST_RATE} are supported"
            )
        if sound.channels > MOST_CHANNELS:
            return f"has {sound.channels} channels; {MOST_CHANNELS} are supported"
        return None


def _ffmpeg_argument(name: str) -> str:
    """A file for ffmpeg, which takes `a:b` for a protocol."""
    return shlex.quote(f"file:{name}" if ":" in name else name)


def _conversion(name: str) -> str:
    is_wav = name.lower().endswith(".wav")
    converted = f"{name[:-4]}_converted.wav" if is_wav else f"{name}.wav"
    return f"ffmpeg -i {_ffmpeg_argument(name)} {_ffmpeg_argument(converted)}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
