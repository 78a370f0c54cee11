"""Clips as files: a sound and its spectrogram each, in a folder with limits."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from monitor.clock import boot_id
from monitor.config.outputs import ClipSettings
from monitor.private_files import read_regular
from monitor.text import utc_text

if TYPE_CHECKING:
    from PIL.Image import Image

Samples = NDArray[np.float32]
"""float32, shape (1 or 2, n), nominally in [-1, 1]."""

ClipFollower = Callable[[str, Path], None]
"""Takes the source and the spectrogram of a clip."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The sound of one event, in memory."""

    event_id: str
    source: str
    label: str
    begins: datetime
    """Time of the first sample, UTC."""

    captured: float
    """Time of the same, monotonic seconds."""

    sample_rate: int
    samples: Samples
    event_start: int
    """Begin of the event, an index in `samples`."""

    event_stop: int
    cut: str
    """Sentence about the missing part of the event; empty: it is complete."""

    @property
    def ends(self) -> datetime:
        """Time after the last sample, UTC."""
        seconds = self.samples.shape[1] / self.sample_rate
        return self.begins + timedelta(seconds=seconds)

    @property
    def name(self) -> str:
        """Name of its files without their suffix: time, source and label."""
        time = str(utc_text(self.begins)).replace(":", "-")
        # A label can be any text.
        label = re.sub(r"[^A-Za-z0-9_-]+", "-", self.label)[:60]
        return f"{time}_{self.source}_{label}"


SOUND, PICTURE = ".flac", ".png"
PARTIAL = ".partial"
FORGOTTEN = ".forgotten"
MIB = 1024 * 1024

ROWS = 256
MOST_COLUMNS = 2000
LOWEST_HZ = 50.0
FFT_SAMPLES = 2048
STEP_SECONDS = 0.01
RANGE_DB = 80.0

# From dark to bright, as red, green and blue; the colours between are interpolated.
COLOURS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))
MARK = 255
"""The palette's last colour, for the lines at the ends of the event."""

MARK_COLOUR = (0, 255, 255)


def spectrogram(clip: Clip) -> "Image":
    """Draw the channels' mean power over time and frequency.

    A column is 10 ms or more, so that there are at most 2000; 256 rows go from 50 Hz at
    the bottom to half the sample rate at the top, each a constant ratio.  The colours
    span 80 dB below the loudest.  Two dotted lines stand at the ends of the event.
    """
    from PIL import Image

    count = clip.samples.shape[1]
    step = max(round(STEP_SECONDS * clip.sample_rate), -(-count // MOST_COLUMNS))
    decibels = _power_db(clip.samples, clip.sample_rate, step)  # (rows, columns)
    loudest = max(float(decibels.max()), -100.0)
    share = np.clip((decibels - loudest) / RANGE_DB + 1, 0, 1)
    indices = np.round(share * (MARK - 1)).astype(np.uint8)
    for sample in (clip.event_start, clip.event_stop):
        indices[::2, min(max(0, sample // step), indices.shape[1] - 1)] = MARK
    image = Image.fromarray(np.ascontiguousarray(indices[::-1]))
    image.putpalette(_palette().tobytes())
    return image


def _palette() -> NDArray[np.uint8]:  # (256, 3)
    places = np.linspace(0, len(COLOURS) - 1, MARK)
    known = range(len(COLOURS))
    parts = [np.interp(places, known, part) for part in np.transpose(COLOURS)]
    return np.vstack([np.stack(parts, axis=1), MARK_COLOUR]).astype(np.uint8)


def _power_db(
    samples: Samples, sample_rate: int, step: int
) -> NDArray[np.float32]:  # (ROWS, columns)
    hertz = np.geomspace(LOWEST_HZ, sample_rate / 2, ROWS)
    bins = np.round(hertz / sample_rate * FFT_SAMPLES).astype(int)  # of each row
    columns = max(1, -(-samples.shape[1] // step))
    padded = np.pad(samples, ((0, 0), (FFT_SAMPLES // 2, FFT_SAMPLES + step)))
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    decibels = np.empty((ROWS, columns), np.float32)
    for column in range(columns):
        piece = padded[:, column * step : column * step + FFT_SAMPLES] * window
        power = (np.abs(np.fft.rfft(piece)) ** 2).mean(axis=0)  # (bins,)
        decibels[:, column] = 10 * np.log10(power[bins] + 1e-12)
    return decibels


@dataclass(frozen=True, slots=True)
class StoredClip:
    """The files of one clip."""

    sound: Path
    ends: datetime
    size: int
    """Bytes, with the picture."""

    @property
    def picture(self) -> Path:
        """Its spectrogram."""
        return self.sound.with_suffix(PICTURE)

    def delete(self) -> None:
        """Delete both."""
        self.sound.unlink(missing_ok=True)
        self.picture.unlink(missing_ok=True)


def stored_clips(folder: Path, since: datetime | None = None) -> list[StoredClip]:
    """The clips in the folder that end after `since`, the oldest first."""
    found = []
    for sound in folder.glob(f"*{SOUND}"):
        with contextlib.suppress(OSError):  # deleted in the meantime
            status = sound.stat()
            picture = sound.with_suffix(PICTURE)
            size = status.st_size + (picture.stat().st_size if picture.exists() else 0)
            # `save` sets the time of the file to the end of the clip.
            ends = datetime.fromtimestamp(status.st_mtime, UTC)
            if since is None or ends >= since:
                found.append(StoredClip(sound, ends, size))
    return sorted(found, key=lambda each: (each.ends, each.sound.name))


def clip_of(folder: Path, event_id: str, since: datetime | None) -> StoredClip | None:
    """The clip of an event among those that end after `since`; None: there is none."""
    clips = stored_clips(folder, since)
    return next((each for each in clips if event_of(each.sound) == event_id), None)


def event_of(sound: Path) -> str:
    """Return the id of the event in the comment of a clip; empty: it has none."""
    try:
        words = _comment(sound).replace(";", " ").split()
    except (soundfile.SoundFileError, OSError):
        return ""
    return words[1] if words[:1] == ["event"] and words[1:] else ""


@lru_cache(maxsize=10_000)  # a clip never changes, and is looked at again and again
def _comment(sound: Path) -> str:
    with soundfile.SoundFile(sound) as file:
        return str(file.comment)


def clean(
    folder: Path,
    settings: ClipSettings,
    now: datetime | None,
    locked: Collection[str] = (),
) -> int:
    """Delete the oldest clips until the limits hold; return their number.

    Without `now`, their age does not count.  Those of `locked` events stay, and do not
    count.

    Raises:
        OSError: A file cannot be deleted.
    """
    clips = stored_clips(folder)
    if locked:
        clips = [each for each in clips if event_of(each.sound) not in locked]
    left, size = len(clips), sum(each.size for each in clips)
    keep = timedelta(days=settings.max_age_days)
    for each in clips:
        too_much = left > settings.max_count or size > settings.max_total_mib * MIB
        if not too_much and (now is None or each.ends >= now - keep):
            break
        each.delete()
        left, size = left - 1, size - each.size
    return len(clips) - left


def locked_excess(folder: Path, settings: ClipSettings, locked: Collection[str]) -> str:
    """Return that locked clips alone exceed the limit of size; empty: they do not."""
    if not locked:
        return ""
    clips = [each for each in stored_clips(folder) if event_of(each.sound) in locked]
    if sum(each.size for each in clips) <= settings.max_total_mib * MIB:
        return ""
    return (
        f"the clips of locked events alone exceed clips.max_total_mib: "
        f"{settings.max_total_mib:g}; they stay, and no clip is stored once the disk "
        f"has less than {settings.min_free_mib:g} MiB of free space"
    )


def has_room(folder: Path, settings: ClipSettings) -> bool:
    """Return True if the disk has the free space that the settings ask for."""
    return shutil.disk_usage(folder).free >= settings.min_free_mib * MIB


def save(folder: Path, clip: Clip) -> Path | None:
    """Write sound and picture, both readable by the owner alone.

    They are written beside and renamed, so no reader sees an incomplete file.

    Returns:
        The file of the sound; None if it has just been forgotten.

    Raises:
        OSError: They cannot be written; no part of them is left.
    """
    sound = folder / f"{clip.name}{SOUND}"
    files = (sound.with_suffix(PICTURE), sound)
    partial = [file.with_name(f".{file.name}{PARTIAL}") for file in files]
    try:
        with os.fdopen(_create(partial[0]), "wb") as file:
            spectrogram(clip).save(file, "PNG")
        _write_sound(partial[1], clip)
        for before, after in zip(partial, files, strict=True):
            before.replace(after)
    except soundfile.LibsndfileError as error:
        # In a file of our own, an error of libsndfile comes from the disk.
        raise OSError(str(error)) from None
    finally:
        for each in partial:
            each.unlink(missing_ok=True)
    ends = clip.ends.timestamp()
    os.utime(sound, (ends, ends))
    # After the rename: `forget` writes its mark before it deletes.
    if _is_forgotten(folder, clip):
        StoredClip(sound, clip.ends, 0).delete()
        return None
    return sound


def prepare(folder: Path) -> None:
    """Create the folder, and delete files that a killed monitor was writing.

    Raises:
        OSError: It cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for partial in folder.glob(f".*{PARTIAL}"):
        partial.unlink(missing_ok=True)


def forget(folder: Path, since: datetime | None, now: float) -> int:
    """Delete the clips that end after `since`; None: all.  Return their number.

    A mark in the folder keeps a running monitor from storing sound that it has captured
    before `now`, monotonic seconds: the wall clock may be set.

    Raises:
        OSError: A file cannot be deleted.
    """
    if not folder.is_dir():
        return 0
    text = {"since": None if since is None else since.timestamp(), "boot": boot_id()}
    mark = folder / FORGOTTEN
    mark.unlink(missing_ok=True)
    with os.fdopen(_create(mark), "w") as file:
        json.dump(text | {"captured_until": now}, file)
    chosen = stored_clips(folder, since)
    for each in chosen:
        each.delete()
    return len(chosen)


def _is_forgotten(folder: Path, clip: Clip) -> bool:
    try:
        mark = json.loads(read_regular(folder / FORGOTTEN, 4096))
        since, until = mark["since"], float(mark["captured_until"])
        is_of_this_boot = mark["boot"] == boot_id()
        after = since is None or clip.ends.timestamp() >= float(since)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return False
    return bool(is_of_this_boot and after and clip.captured < until)


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
