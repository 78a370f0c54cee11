"""Where samples come from: microphone, file, command, or the demo scene.

Nothing heavy is imported here: the capture child imports this package too, and has to
start quickly, again and again while a microphone is missing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from monitor.audio.sources.source import Source
    from monitor.config.config import SourceSettings


def build_source(
    settings: "SourceSettings",
    speed: Literal["realtime", "max"],
    now: Callable[[], float],
) -> "Source":
    """Build the source that `settings.input` names; a microphone may be absent.

    Args:
        settings: Of one source.
        speed: How fast a recording or the demo is fed: as it would sound, or as fast
            as the reader takes it.
        now: Monotonic seconds.

    Raises:
        UsageError: The input cannot be: a missing file or command, a device number.
        AudioFileError: The file is no recording, or an empty one.
    """
    kind, _, what = settings.input.partition(":")
    if kind == "mic":
        from monitor.audio.sources.microphone import Microphone

        return Microphone(what, settings.sample_rate, settings.channels)
    if kind == "command":
        from monitor.audio.sources.command import Command

        return Command.from_settings(what, settings)
    if kind == "demo":
        from monitor.audio.sources.file import Demo

        return Demo(settings.sample_rate, speed, now)
    from monitor.audio.sources.file import File

    return File(what, speed, now)
