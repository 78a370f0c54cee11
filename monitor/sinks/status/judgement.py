"""Whether all is well with the monitor, in a sentence."""

import math
from collections.abc import Sequence
from datetime import datetime

from monitor.records import EVERY_SOURCE, SourceStatistics, Statistics, Trouble
from monitor.sinks.listening import DEAFENING, FRESH_SECONDS
from monitor.sinks.status.privacy import without_secrets
from monitor.sinks.wording import duration


def judge(
    statistics: Statistics | None,
    age_seconds: float,
    deaf: Sequence[str],
    utc: datetime,
) -> str:
    """Say how the monitor is doing.

    Args:
        statistics: The newest; None: there are none yet.
        age_seconds: Of the statistics; of the process, if there are none.
        deaf: Sources that are not listened to.
        utc: Now.
    """
    if statistics is None:
        return f"nothing has been analysed yet, {duration(age_seconds)} after the start"
    if age_seconds >= FRESH_SECONDS:
        return f"the analysis hangs: it has not moved for {duration(age_seconds)}"
    parts = [_sources(statistics, deaf, utc)]
    troubles = [
        _trouble(each)
        for each in statistics.troubles
        if each.kind not in DEAFENING and each.kind != "deaf"
    ]
    if troubles:
        parts.append(f"trouble: {', '.join(troubles)}")
    return "; ".join(parts)


def _sources(statistics: Statistics, deaf: Sequence[str], utc: datetime) -> str:
    sources = {each.source: each for each in statistics.sources}
    count = len(sources)
    if not deaf:
        names = ", ".join(sources) if count <= 3 else f"all {count} sources"
        return f"listening to {names}"
    reasons = [
        f"{name} ({_why_deaf(sources[name], statistics.troubles, utc)})"
        for name in deaf
        if name in sources
    ]
    return f"not listening to {', '.join(reasons)}"


def _why_deaf(
    source: SourceStatistics, troubles: Sequence[Trouble], utc: datetime
) -> str:
    if source.state != "listening":
        detail = without_secrets(source.detail)
        return f"{source.state}: {detail}" if detail else source.state
    for trouble in troubles:
        if trouble.kind in DEAFENING and trouble.source in (
            source.source,
            EVERY_SOURCE,
        ):
            return without_secrets(trouble.detail) or trouble.kind
    if source.last_sample is None:
        return "no sound has come yet"
    silence = (utc - source.last_sample).total_seconds()
    if silence >= FRESH_SECONDS:
        return f"no sound has come for {duration(silence)}"
    if math.isnan(source.level.dbfs):
        return "its first seconds are not complete yet"
    return "its sound is not analysed"


def _trouble(trouble: Trouble) -> str:
    place = "" if trouble.source == EVERY_SOURCE else f" at {trouble.source}"
    return f"{trouble.kind}{place}"
