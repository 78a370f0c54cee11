"""The folder of the clips: its files, its limits, and deleting from it."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import soundfile

from monitor.config.clips import ClipSettings
from monitor.sinks.clips.clip import Clip
from monitor.sinks.clips.spectrogram import spectrogram

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
