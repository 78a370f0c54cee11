"""Decoded recordings on disk: read once, then mapped into memory.

Decoding and resampling cost more than anything else that happens to a clip, and every
epoch needs every clip; so they are done once, and kept as 16-bit samples at the rate of
the model.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import soxr
from numpy.typing import NDArray
from pydantic import BaseModel, Field, InstanceOf, model_validator

from monitor.audio.conditioning import at_most_two_channels
from monitor.audio.sources.recording import Recording
from monitor.errors import AudioFileError, DatasetError, UsageError
from training.data.manifest import Clip, LeftOut, Manifest
from training.files import locked_folder, replace_text
from training.profile import timed

logger = logging.getLogger(__name__)

Samples = NDArray[np.float32]
Advance = Callable[[str, int, int], None]
"""Shows the progress of a work: its name, and how much of how much is done."""
_DECODING = "decoding recordings"
_FORMAT = 2
_SAMPLES = "samples.i16"
_READ_SAMPLES = 1 << 20
_SILENT = 1e-4
"""Amplitude up to which the ends of a recording count as digital silence."""


class _Entry(BaseModel, frozen=True, strict=True):
    path: InstanceOf[str]
    """May hold bytes that are not UTF-8, as surrogates."""
    first: int
    """Index of its first sample in the file of all samples."""
    samples: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1, le=2)]
    scale: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Full scale of the 16-bit samples: above 1 for recordings that exceed it."""
    sound_start: Annotated[int, Field(ge=0)]
    sound_stop: int

    @model_validator(mode="after")
    def _has_sound(self) -> Self:
        if not self.sound_start < self.sound_stop <= self.samples:
            raise ValueError("its sound is not within it")
        return self


class _LeftOut(BaseModel, frozen=True, strict=True):
    path: InstanceOf[str]
    reason: str


class _Index(BaseModel, frozen=True, strict=True):
    clips: list[_Entry]
    left_out: list[_LeftOut]


def ignore(_name: str, _done: int, _total: int) -> None:
    """Show no progress."""


class ClipStore:
    """All clips of a data set, decoded, one or two channels, at one rate.

    The samples are mapped into memory.  May be called on several threads, and handed
    to other processes.
    """

    def __init__(self, folder: Path, clips: Sequence[Clip]) -> None:
        """Open what was made of `clips`.

        Raises:
            OSError: It cannot be read.
            RecursionError, ValueError: It is damaged.
        """
        index = _Index.model_validate(json.loads((folder / "index.json").read_text()))
        self._folder = folder
        self._entries = {entry.path: entry for entry in index.clips}
        self.left_out = tuple(
            LeftOut(Path(entry.path), entry.reason) for entry in index.left_out
        )
        paths = {each.path for each in index.clips}
        paths |= {each.path for each in index.left_out}
        if paths != {str(clip.path) for clip in clips}:
            raise ValueError("its recordings are others")
        stop = 0
        for entry in index.clips:  # one behind the other
            if entry.first != stop:
                raise ValueError(f"{entry.path} has another place")
            stop += entry.samples * entry.channels
        if (folder / _SAMPLES).stat().st_size != stop * np.dtype(np.int16).itemsize:
            raise ValueError(f"{_SAMPLES} has another size")
        self.channels = max((e.channels for e in self._entries.values()), default=1)
        """Largest number of channels of a clip."""
        self._samples: NDArray[np.int16] | None = None

    def __getstate__(self) -> dict[str, object]:
        """Let another process map the samples itself."""
        return {**self.__dict__, "_samples": None}

    def read(self, path: Path) -> Samples:
        """Return all samples of a clip, float32, (channels, n)."""
        entry = self._entries[str(path)]
        return self._cut(entry, 0, entry.samples)

    def sound(self, path: Path) -> Samples:
        """Return a clip without the digital silence at its ends, (channels, n)."""
        entry = self._entries[str(path)]
        return self._cut(entry, entry.sound_start, entry.sound_stop)

    def _cut(self, entry: _Entry, start: int, stop: int) -> Samples:
        if self._samples is None:
            self._samples = np.memmap(self._folder / _SAMPLES, np.int16, "r")
        first = entry.first + start * entry.channels
        last = entry.first + stop * entry.channels
        scale = np.float32(entry.scale / 32_767)
        with timed("reading decoded sound"):
            interleaved = self._samples[first:last].reshape(-1, entry.channels)
            samples = np.ascontiguousarray(interleaved.T, dtype=np.float32)
            samples *= scale
            return samples


def open_store(
    manifest: Manifest,
    sample_rate: int,
    cache: Path,
    advance: Advance = ignore,
) -> tuple[Manifest, ClipStore]:
    """Decode the clips of `manifest`, or find them decoded in the folder `cache`.

    Returns:
        The manifest without the files that turned out unreadable or silent, and the
        store of the others.
    """
    folder = cache / _key(manifest.clips, sample_rate)
    if (store := _find_store(folder, manifest.clips)) is None:
        with locked_folder(folder, lambda: advance(_DECODING, 0, len(manifest.clips))):
            # Meanwhile another process may have made it.
            if (store := _find_store(folder, manifest.clips, warns=True)) is None:
                _decode_all(manifest.clips, sample_rate, folder, advance)
                store = ClipStore(folder, manifest.clips)
    return manifest.without(store.left_out), store


def _find_store(
    folder: Path, clips: Sequence[Clip], warns: bool = False
) -> ClipStore | None:
    """Open what was decoded before; None if there is nothing, or it is damaged."""
    if not (folder / "index.json").exists():
        return None
    try:
        return ClipStore(folder, clips)
    except (OSError, RecursionError, ValueError) as error:
        if warns:
            reason = " ".join(str(error).split())[:200]
            logger.warning(
                "%s is damaged (%s); decoding its recordings anew", folder, reason
            )
        return None


def _key(clips: Sequence[Clip], sample_rate: int) -> str:
    digest = hashlib.blake2b(f"{_FORMAT} {sample_rate}".encode(), digest_size=12)
    for clip in clips:
        status = clip.path.stat()
        digest.update(os.fsencode(clip.path.resolve()))
        digest.update(f" {status.st_size} {status.st_mtime_ns} ".encode())
        digest.update(clip.digest.hex().encode() + b"\n")
    return digest.hexdigest()


def _decode_all(
    clips: Sequence[Clip],
    sample_rate: int,
    folder: Path,
    advance: Advance,
) -> None:
    """Fill `folder`; the index is written last, when everything else is there."""
    if (folder / "index.json").is_dir():  # somebody's; it cannot be replaced
        shutil.rmtree(folder / "index.json")
    entries: list[_Entry] = []
    left_out: list[_LeftOut] = []
    first = 0
    with (folder / _SAMPLES).open("wb") as file:
        for number, clip in enumerate(clips, start=1):
            try:
                with timed("decoding recordings"):
                    decoded = load_audio(clip.path, sample_rate)
            except UnusableRecordingError as error:
                left_out.append(_LeftOut(path=str(clip.path), reason=error.reason))
            else:
                entry, data = _pack(clip.path, decoded, first)
                data.tofile(file)
                entries.append(entry)
                first += data.size
            advance(_DECODING, number, len(clips))
        file.flush()
        os.fsync(file.fileno())
    index = _Index(clips=entries, left_out=left_out)
    replace_text(folder / "index.json", json.dumps(index.model_dump()))


def _pack(path: Path, samples: Samples, first: int) -> tuple[_Entry, NDArray[np.int16]]:
    scale = max(1.0, float(np.abs(samples).max()))
    on = np.flatnonzero(np.abs(samples).max(axis=0) > _SILENT)
    start, stop = (int(on[0]), int(on[-1]) + 1) if len(on) else (0, samples.shape[1])
    channels, count = samples.shape
    data = np.round(samples.T * (32_767 / scale)).astype(np.int16)
    entry = _Entry(
        path=str(path),
        first=first,
        samples=count,
        channels=channels,
        scale=scale,
        sound_start=start,
        sound_stop=stop,
    )
    return entry, data


class UnusableRecordingError(DatasetError):
    """A recording cannot be used; `reason` says why in a word."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def load_audio(path: str | Path, sample_rate: int = 44_100) -> Samples:
    """Read a recording, with any rate and number of channels, at `sample_rate`.

    Returns:
        float32, shape (channels, n): one or two channels, or the mean of more.

    Raises:
        UnusableRecordingError: It is unreadable, cut off, goes on behind its end, is
            empty, silent or not finite.
    """
    path = Path(path)
    try:
        with Recording(path) as recording:
            rate = recording.sample_rate
            blocks = [*recording.blocks(_READ_SAMPLES)]
    except AudioFileError as error:
        raise UnusableRecordingError(path, error.reason) from None
    except UsageError:
        raise UnusableRecordingError(path, "unreadable") from None
    if not blocks:
        raise UnusableRecordingError(path, "empty")
    samples = np.concatenate(blocks, axis=1)
    if not np.isfinite(samples).all():
        raise UnusableRecordingError(path, "not finite")
    if not samples.any():
        raise UnusableRecordingError(path, "silent")
    samples = resample(at_most_two_channels(samples), rate, sample_rate)
    if samples.shape[1] == 0:
        raise UnusableRecordingError(path, "empty")
    return np.ascontiguousarray(samples)


def to_channels(samples: Samples, channels: int = 2) -> Samples:
    """Keep the first channels, or repeat mono: (c, n) to (channels, n)."""
    return np.broadcast_to(samples[:channels], (channels, *samples.shape[1:]))


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """Change the sample rate: (channels, n) to (channels, n * new_rate / rate)."""
    if rate == new_rate:
        return samples
    # soxr wants time first.
    resampled = soxr.resample(samples.T, rate, new_rate, quality="HQ")
    return np.asarray(resampled.T, np.float32)
