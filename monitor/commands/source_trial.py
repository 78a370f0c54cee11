"""Trial of the live sources, for `check`: what each delivers in some seconds."""

import errno
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from monitor.audio.sources.network import NetworkStream
from monitor.audio.sources.source import Lost, Source, SourceStream
from monitor.commands.configuration import Configuration
from monitor.commands.configuration_file import SYSTEM_FILE
from monitor.errors import EndOfSourceError, SoundMonitorError, SourceError
from monitor.sinks.status_client import SERVICE_SOCKET, client_paths, query_status

_SECONDS = 3.0
"""Time for which a source is listened to, once it delivers."""

_READ_SECONDS = 0.2
_ATTEMPTS = 2
"""Some cameras deliver nothing when they are asked for their sound alone."""

_MOST_AT_ONCE = 16
_BUSY = ("Device unavailable", "Device or resource busy")
"""Words of PortAudio and ALSA for a sound card that another program has."""

_SILENCE_DB = -100.0


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one source."""

    works: bool
    sentence: str

    in_use: bool = False
    """Another program has the source."""


def try_configured(
    sources: Mapping[str, Source], configuration: Configuration
) -> dict[str, Trial]:
    """Try all sources, by name; one that the running monitor has in use is its to say.

    It is known by its name alone.
    """
    trials = dict(zip(sources, try_sources([*sources.values()]), strict=True))
    if not any(trial.in_use for trial in trials.values()):
        return trials
    paths = client_paths(
        configuration.config.status.socket, configuration.state_dir, os.environ
    )
    if configuration.path not in (None, SYSTEM_FILE):  # the service has another one
        paths = [path for path in paths if path != SERVICE_SOCKET]
    running = {it["name"]: it for it in query_status(paths).get("sources", ())}
    for name, trial in trials.items():
        if trial.in_use and (source := running.get(name)):
            description, state = sources[name].description, source["state"]
            trials[name] = Trial(
                bool(source["listening"]),
                f"{description}: in use by the running monitor ({state})",
                in_use=True,
            )
    return trials


def try_sources(sources: Sequence[Source]) -> list[Trial]:
    """Listen to all sources at once, each for three seconds at least."""
    if not sources:
        return []
    with ThreadPoolExecutor(min(len(sources), _MOST_AT_ONCE)) as pool:
        return list(pool.map(_try, sources))


def _try(source: Source) -> Trial:
    sentence = ""
    for _ in range(_ATTEMPTS):
        try:
            with closing(source.open()) as stream:
                return Trial(True, _listen(stream, source.opening_seconds))
        except _NothingError as error:
            sentence = str(error)
        except (SoundMonitorError, EndOfSourceError) as error:
            return Trial(False, str(error), _is_in_use(error))
    return Trial(False, sentence)


def _is_in_use(error: Exception) -> bool:
    cause = error.__cause__
    is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
    return is_taken or any(text in str(error) for text in _BUSY)


class _NothingError(SourceError):
    """It is open, and delivers nothing."""


def _listen(stream: SourceStream, opening_seconds: float) -> str:
    """Return what a stream delivers."""
    began = time.monotonic()
    first: float | None = None
    count = lost = 0
    ending = ""
    energy = 0.0
    while (now := time.monotonic()) - (first or now) < _SECONDS:
        if first is None and now - began > opening_seconds:
            hint = "; raw PCM? set sample_rate" if _may_be_raw(stream) else ""
            raise _NothingError(f"delivers nothing in {opening_seconds:.0f} s{hint}")
        try:
            block = stream.read(_READ_SECONDS)
        except SourceError as error:
            if not error.is_end:
                raise
            ending = f"; {error}"
            break
        if block is None:
            continue
        first = first or time.monotonic()
        if isinstance(block, Lost):
            lost += block.count
        else:
            count += block.size
            energy += float((block.astype(float) ** 2).sum())
    assert first is not None, "the loop ends after the first samples"
    facts = [f"{stream.sample_rate} Hz", f"{stream.channels} ch"]
    facts.append(f"first sound after {first - began:.1f} s")
    level = 10 * math.log10(max(energy / max(count, 1), 1e-12))
    silent = level < _SILENCE_DB
    facts.append("only silence" if silent else f"level {level:.0f} dBFS")
    if lost:
        facts.append(f"{lost} samples lost")
    return f"{_offer(stream)}{', '.join(facts)}{ending}"


def _may_be_raw(stream: SourceStream) -> bool:
    return (
        isinstance(stream, NetworkStream)
        and not stream.is_described
        and not stream.offer.is_known
    )


def _offer(stream: SourceStream) -> str:
    if not isinstance(stream, NetworkStream):
        return ""
    offer = stream.offer
    picture = f", and a picture ({offer.picture})" if offer.picture else ""
    length = f", a recording of {offer.seconds:.1f} s" if offer.seconds else ""
    return f"offers {offer.sound}{picture}{length}; "
