"""Trial of the live sources, for `check`: what each delivers in some seconds."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from monitor.audio.sources.network import NetworkStream
from monitor.audio.sources.source import Lost, Source, SourceStream
from monitor.errors import EndOfSourceError, SoundMonitorError, SourceError

_SECONDS = 3.0
"""Time for which a source is listened to, once it delivers."""

_READ_SECONDS = 0.2
_ATTEMPTS = 2
"""Some cameras deliver nothing when they are asked for their sound alone."""

_MOST_AT_ONCE = 16
_SILENCE_DB = -100.0


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one source."""

    works: bool
    sentence: str


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
            return Trial(False, str(error))
    return Trial(False, sentence)


class _NothingError(SourceError):
    """It is open, and delivers nothing."""


def _listen(stream: SourceStream, opening_seconds: float) -> str:
    """Return what a stream delivers."""
    began = time.monotonic()
    first: float | None = None
    count = lost = 0
    energy = 0.0
    while (now := time.monotonic()) - (first or now) < _SECONDS:
        if first is None and now - began > opening_seconds:
            raise _NothingError(f"delivers nothing in {opening_seconds:.0f} s")
        block = stream.read(_READ_SECONDS)
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
    return f"{_offer(stream)}{', '.join(facts)}"


def _offer(stream: SourceStream) -> str:
    if not isinstance(stream, NetworkStream):
        return ""
    offer = stream.offer
    picture = f", and a picture ({offer.picture})" if offer.picture else ""
    return f"offers {offer.sound}{picture}; "
