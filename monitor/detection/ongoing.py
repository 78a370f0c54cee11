"""The facts of an ongoing occurrence, updated with each window."""

import math
from collections.abc import Iterable
from dataclasses import replace

from monitor.records import Ongoing, Onset, ScoreFrame


def begin(
    onset: Onset, windows: Iterable[ScoreFrame], index: int, threshold: float
) -> Ongoing:
    """Begin with an onset.

    Args:
        onset: Just detected.
        windows: The newest of the source, in order, back to the start of the onset.
        index: Of the label among the scores.
        threshold: Score at or above which a window is a hit.
    """
    covering = [window for window in windows if window.stop > onset.start]
    hits = [window for window in covering if window.scores[index] >= threshold]
    return Ongoing(
        onset.id,
        onset.source,
        onset.label,
        onset.start,
        hits[-1].spans[index][1] if hits else onset.stop,
        onset.peak_score,
        onset.mean_score,
        onset.level_dbfs,
        onset.laeq_db,
        onset.top,
        onset.model,
        len(hits),
        len(covering),
    )


def follow(known: Ongoing, window: ScoreFrame, index: int, threshold: float) -> Ongoing:
    """Add the next window; the arguments are those of `begin`."""
    score, count = window.scores[index], max(1, known.windows)
    is_hit = score >= threshold
    return replace(
        known,
        stop=max(known.stop, window.spans[index][1]) if is_hit else known.stop,
        peak_score=max(known.peak_score, score),
        mean_score=(known.mean_score * count + score) / (count + 1),
        level_dbfs=max(known.level_dbfs, window.level_dbfs),
        laeq_db=_energy_mean(known.laeq_db, count, window.laeq_db),
        hits=known.hits + is_hit,
        windows=known.windows + 1,
    )


def _energy_mean(mean_db: float, count: int, level_db: float) -> float:
    """Mean level of `count` hops of `mean_db` and one more, in dB."""
    if not math.isfinite(level_db):
        return mean_db
    if not math.isfinite(mean_db):
        return level_db
    energy = count * 10 ** (mean_db / 10) + 10 ** (level_db / 10)
    return 10 * math.log10(energy / (count + 1))
