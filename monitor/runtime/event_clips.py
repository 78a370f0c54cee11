"""The clips of events that the monitor has kept, as examples of a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import soundfile

from monitor.config.outputs import ClipSettings
from monitor.errors import UsageError
from monitor.runtime.examples import Clip
from monitor.sinks.clip_files import StoredClip, event_of, stored_clips
from monitor.text import printable

SHORTEST_ID = 6
"""Characters of an id that name an event, if no other one begins with them."""

_SHORTEST_EVENT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class EventClips:
    """The clips of events."""

    clips: tuple[Clip, ...]
    newest_event_seconds: float
    """End of the newest event, seconds since 1970."""


def clips_of_events(
    folder: Path, settings: ClipSettings, ids: Sequence[str]
) -> EventClips:
    """Find the clips of events.

    Args:
        folder: The folder of clips.
        settings: Say how much sound lies around the event in each.
        ids: Ids of events, or their first characters.

    Raises:
        UsageError: An event has no clip, or an id means several.
    """
    short = next((each for each in ids if len(each) < SHORTEST_ID), None)
    if short is not None:
        raise UsageError(
            f"--from-events: {printable(short)!r} is too short: give the id of an "
            f"event, or its first {SHORTEST_ID} characters or more; 'sound-monitor "
            "events --json' prints ids"
        )
    kept = {event_of(each.sound): each for each in stored_clips(folder)}
    chosen = {event: kept[event] for event in (_named(each, kept) for each in ids)}
    after = timedelta(seconds=settings.after_seconds)
    newest = max(each.ends for each in chosen.values()) - after
    clips = tuple(_clip(each, settings) for each in chosen.values())
    return EventClips(clips, newest.timestamp())


def clip_at(folder: Path, moment: datetime) -> Path | None:
    """Return the clip that was recorded at a moment; None: none was kept."""
    for each in stored_clips(folder, since=moment):
        if moment >= each.ends - timedelta(seconds=_seconds(each.sound)):
            return each.sound
    return None


def _named(wanted: str, kept: dict[str, StoredClip]) -> str:
    found = [event for event in kept if event.startswith(wanted)]
    if len(found) > 1:
        raise UsageError(
            f"--from-events: {printable(wanted)!r} is the start of {len(found)} ids: "
            "write more of it"
        )
    if not found:
        raise UsageError(
            f"--from-events: no clip of an event {printable(wanted)!r} was kept: clips "
            "are kept with 'privacy: clips', for clips.max_age_days; give recordings "
            "of the sound instead"
        )
    return found[0]


def _seconds(sound: Path) -> float:
    try:
        return float(soundfile.info(sound).duration)
    except (soundfile.SoundFileError, OSError):
        return 0.0


def _clip(stored: StoredClip, settings: ClipSettings) -> Clip:
    """The event in its clip, without the sound around it."""
    seconds = _seconds(stored.sound)
    start, stop = settings.before_seconds, seconds - settings.after_seconds
    if stop - start < _SHORTEST_EVENT_SECONDS:
        start, stop = 0.0, seconds
    return Clip(stored.sound, start, stop)
