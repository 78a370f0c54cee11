"""The folder of the clips: its files, its limits, and deleting from it.

A clip: the sound of one event, in memory.

A picture of a clip: its spectrogram as PNG, without axes.
"""

import contextlib
import json
import os
import re
import shutil
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from monitor.config.outputs import ClipSettings

Samples = NDArray[np.float32]
"""float32, shape (1 or 2, n), nominally in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The sound of one event, and what is to be known of it."""

    event_id: str
    source: str
    label: str
    begins: datetime
    """Time of the first sample, UTC."""

    ends: datetime
    sample_rate: int
    samples: Samples
    event_start: int
    """Where the event begins in `samples`."""

    event_stop: int
    cut: str
    """What is missing of the event, a sentence; empty: nothing."""

    @property
    def name(self) -> str:
        """Name of its files without their ending: time, source and label."""
        time = self.begins.astimezone(UTC).isoformat(timespec="milliseconds")
        time = time.removesuffix("+00:00").replace(":", "-")
        # A label is whatever a folder was called.
        label = re.sub(r"[^A-Za-z0-9_-]+", "-", self.label)[:60]
        return f"{time}Z_{self.source}_{label}"


ROWS = 256
MOST_COLUMNS = 2000
LOWEST_HZ = 50.0
FFT_SAMPLES = 2048
STEP_SECONDS = 0.01
RANGE_DB = 80.0
_MARK = 255
"""The palette's last colour, for the lines at the ends of the event."""

# Dark to bright, as red, green and blue; what lies between is interpolated.
_COLOURS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))


def spectrogram(
    samples: Samples, sample_rate: int, event_start: int, event_stop: int
) -> bytes:
    """Draw the channels' mean power over time and frequency.

    A column is 10 ms or more, so that there are at most 2000; 256 rows go from 50 Hz at
    the bottom to half the sample rate at the top, each a constant ratio.  The colours
    span 80 dB below the loudest.  Two lines stand at the ends of the event.

    Args:
        samples: float32, shape (channels, n).
        sample_rate: Of the samples.
        event_start: Where the event begins in `samples`.
        event_stop: Where it ends.

    Returns:
        A PNG file.
    """
    count = samples.shape[1]
    step = max(round(STEP_SECONDS * sample_rate), -(-count // MOST_COLUMNS))
    decibels = _power_db(samples, sample_rate, step)  # (rows, columns)
    loudest = max(float(decibels.max()), -100.0)
    share = np.clip((decibels - loudest) / RANGE_DB + 1, 0, 1)
    image = np.round(share * (_MARK - 1)).astype(np.uint8)
    for sample in (event_start, event_stop):
        image[::2, min(max(0, sample // step), image.shape[1] - 1)] = _MARK
    return _png(image[::-1])


def _power_db(
    samples: Samples, sample_rate: int, step: int
) -> NDArray[np.float32]:  # (ROWS, columns)
    columns = max(1, -(-samples.shape[1] // step))
    padded = np.pad(samples, ((0, 0), (FFT_SAMPLES // 2, FFT_SAMPLES + step)))
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    bins = _bins(sample_rate)
    decibels = np.empty((ROWS, columns), np.float32)
    for column in range(columns):
        piece = padded[:, column * step : column * step + FFT_SAMPLES] * window
        power = (np.abs(np.fft.rfft(piece)) ** 2).mean(axis=0)  # (bins,)
        decibels[:, column] = 10 * np.log10(power[bins] + 1e-12)
    return decibels


def _bins(sample_rate: int) -> NDArray[np.int64]:
    """For each row from the bottom the bin of the Fourier transform that it shows."""
    hertz = np.geomspace(LOWEST_HZ, sample_rate / 2, ROWS)
    return np.round(hertz / sample_rate * FFT_SAMPLES).astype(np.int64)


def _png(image: NDArray[np.uint8]) -> bytes:
    """Encode palette indices, shape (rows, columns), the upper row first."""
    rows, columns = image.shape
    places = np.linspace(0, len(_COLOURS) - 1, _MARK)
    parts = np.array(_COLOURS, float).T
    palette = np.stack([np.interp(places, range(len(_COLOURS)), p) for p in parts], 1)
    colours = palette.astype(np.uint8).tobytes() + b"\x00\xff\xff"
    lines = np.pad(image, ((0, 0), (1, 0)))  # each begins with its filter, none
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
            (b"PLTE", colours),
            (b"IDAT", zlib.compress(lines.tobytes(), 6)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


SOUND, PICTURE = ".flac", ".png"
PARTIAL = ".partial"
MARK = ".forgotten"
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """The files of one clip."""

    sound: Path
    ends: datetime
    size: int
    """Bytes, with the picture."""

    def delete(self) -> None:
        """Remove both."""
        self.sound.unlink(missing_ok=True)
        self.sound.with_suffix(PICTURE).unlink(missing_ok=True)


def stored_clips(folder: Path) -> list[Stored]:
    """All clips in the folder, those that ended first before the others."""
    found = []
    for sound in folder.glob(f"*{SOUND}"):
        with contextlib.suppress(OSError):  # deleted in the meantime
            status = sound.stat()
            picture = sound.with_suffix(PICTURE)
            size = status.st_size + (picture.stat().st_size if picture.exists() else 0)
            # Set when it was written.
            ends = datetime.fromtimestamp(status.st_mtime, UTC)
            found.append(Stored(sound, ends, size))
    return sorted(found, key=lambda each: (each.ends, each.sound.name))


def clips_since(folder: Path, since: datetime | None) -> list[Stored]:
    """The clips that end after `since`; None: all."""
    return [c for c in stored_clips(folder) if since is None or c.ends >= since]


def clean(folder: Path, settings: ClipSettings, now: datetime) -> int:
    """Delete the oldest clips until the limits hold; return how many.

    Raises:
        OSError: A file cannot be deleted.
    """
    clips = stored_clips(folder)
    left, size = len(clips), sum(each.size for each in clips)
    oldest = now - timedelta(days=settings.max_age_days)
    for each in clips:
        too_much = left > settings.max_count or size > settings.max_total_mib * MIB
        if not too_much and each.ends >= oldest:
            break
        each.delete()
        left, size = left - 1, size - each.size
    return len(clips) - left


def has_room(folder: Path, settings: ClipSettings) -> bool:
    """Whether the disk has as much room left as it should have."""
    return shutil.disk_usage(folder).free >= settings.min_free_mib * MIB


def save(folder: Path, clip: Clip) -> Path | None:
    """Write sound and picture, both readable by the owner alone.

    They are written beside and renamed, so whoever sees them sees all of them.

    Returns:
        The file of the sound; None if it has just been forgotten.

    Raises:
        OSError: They cannot be written; nothing of them is left.
    """
    picture = spectrogram(
        clip.samples, clip.sample_rate, clip.event_start, clip.event_stop
    )
    sound = folder / f"{clip.name}{SOUND}"
    files = (sound.with_suffix(PICTURE), sound)
    partial = [file.with_name(f".{file.name}{PARTIAL}") for file in files]
    try:
        with os.fdopen(_create(partial[0]), "wb") as file:
            file.write(picture)
        _write_sound(partial[1], clip)
        for before, after in zip(partial, files, strict=True):
            before.replace(after)
    except soundfile.LibsndfileError as error:
        # What libsndfile stumbles over in a file of our own is the disk.
        raise OSError(str(error)) from None
    finally:
        for each in partial:
            each.unlink(missing_ok=True)
    ends = clip.ends.timestamp()
    os.utime(sound, (ends, ends))
    # Not before it is there: `forget` sets its mark before it deletes.
    if _is_forgotten(folder, clip):
        Stored(sound, clip.ends, 0).delete()
        return None
    return sound


def prepare(folder: Path) -> None:
    """Make the folder, and remove what a killed monitor was writing.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for partial in folder.glob(f".*{PARTIAL}"):
        partial.unlink(missing_ok=True)


def forget(folder: Path, since: datetime | None, now: datetime) -> int:
    """Delete the clips that end after `since`; None: all.  Return how many.

    A clip that a running monitor still has in memory is not stored either.

    Raises:
        OSError: A file cannot be deleted.
    """
    if not folder.is_dir():
        return 0
    text = {"since": None if since is None else since.timestamp()}
    mark = folder / MARK
    mark.unlink(missing_ok=True)
    with os.fdopen(_create(mark), "w") as file:
        json.dump(text | {"until": now.timestamp()}, file)
    chosen = clips_since(folder, since)
    for each in chosen:
        each.delete()
    return len(chosen)


def _is_forgotten(folder: Path, clip: Clip) -> bool:
    try:
        mark = json.loads((folder / MARK).read_text())
        since, until = mark["since"], mark["until"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    after = since is None or clip.ends.timestamp() >= since
    return bool(after and clip.begins.timestamp() < until)


def _create(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o600)


def _write_sound(path: Path, clip: Clip) -> None:
    with (
        os.fdopen(_create(path), "w+b") as file,
        soundfile.SoundFile(
            file,
            "w",
            samplerate=clip.sample_rate,
            channels=clip.samples.shape[0],
            format="FLAC",
            subtype="PCM_16",
        ) as flac,
    ):
        flac.title = f"{clip.label} at {clip.source}"
        flac.comment = f"event {clip.event_id}" + (f"; {clip.cut}" if clip.cut else "")
        flac.write(clip.samples.T)
