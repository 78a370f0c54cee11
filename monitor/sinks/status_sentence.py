"""The status of the monitor in one sentence, for people."""

import math
from collections.abc import Sequence
from datetime import datetime

from monitor.records import EVERY_SOURCE
from monitor.sinks.status_client import Document
from monitor.statistics import DEAFENING, FRESH_SECONDS, SourceStatistics, Statistics
from monitor.text import duration, percent, without_secrets


def sentence_of(
    statistics: Statistics | None,
    age_seconds: float,
    utc: datetime,
    mutes: Sequence[Document] = (),
) -> str:
    """Sum up the status for people; `mutes` are those of the alert rules."""
    parts = [_heard(statistics, age_seconds)]
    if mutes:
        # No trouble, for somebody wanted it; but nobody gets these alerts.
        parts.append(f"muted: {', '.join(_mute(each, utc) for each in mutes)}")
    return "; ".join(parts)


def _mute(mute: Document, utc: datetime) -> str:
    left = datetime.fromisoformat(mute["until"]) - utc
    return f"{mute['rule']} ({duration(left.total_seconds())})"


def _heard(statistics: Statistics | None, age_seconds: float) -> str:
    age = duration(age_seconds)
    if statistics is None:
        return f"nothing has been analysed yet, {age} after the start"
    if age_seconds >= FRESH_SECONDS:
        return f"the analysis hangs: it has not moved for {age}"
    listening = statistics.listening(age_seconds)
    missing = [
        f"{each.source} ({_why_not_listening(each, statistics, age_seconds)})"
        for each in statistics.sources
        if not listening.get(each.source, True)
    ]
    names = list(listening)
    if missing:
        sentence = f"not listening to {', '.join(missing)}"
    elif len(names) > 3:
        sentence = f"listening to all {len(names)} sources"
    else:
        sentence = f"listening to {', '.join(names)}"
    for worst in statistics.analysed_in_part[:1]:
        share = f"{percent(worst.left_out)} of {worst.source} in the latest minute"
        sentence += f"; this machine is too slow: windows are left out ({share})"
    troubles = [
        each.kind if each.source == EVERY_SOURCE else f"{each.kind} at {each.source}"
        for each in statistics.troubles
        if each.kind not in DEAFENING and each.kind != "deaf"
    ]
    return f"{sentence}; trouble: {', '.join(troubles)}" if troubles else sentence


def _why_not_listening(
    source: SourceStatistics, statistics: Statistics, age_seconds: float
) -> str:
    """Explain why a source is not listened to."""
    if source.state != "listening":
        detail = without_secrets(source.detail)
        return f"{source.state}: {detail}" if detail else source.state
    trouble = statistics.deafening(source.source)
    if trouble is None:
        return why_not_analysed(source, age_seconds)
    return without_secrets(trouble.detail) or trouble.kind


def why_not_analysed(source: SourceStatistics, age_seconds: float = 0.0) -> str:
    """Explain why a source that is open is not analysed."""
    silence = source.silent_seconds + age_seconds
    if math.isinf(silence):
        if any(loss.reason == "invalid" for loss in source.losses):
            return "its samples are invalid: is its sample_format right?"
        return "no sound has come yet"
    if silence >= FRESH_SECONDS:
        return f"no sound has come for {duration(silence)}"
    if source.is_losing:
        return "its sound comes, but is too short between losses to be analysed"
    if math.isnan(source.level.dbfs):
        return "its first seconds are not complete yet"
    return "its sound is not analysed"
