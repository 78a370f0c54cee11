"""Score frames of a recording whose windows follow the default grid."""

from monitor.records import ScoreFrame
from monitor.spec import ModelSpec
from tests.support.timed import LABELS, samples

SPEC = ModelSpec()
HOP = 48 * SPEC.hop_length


def score_frame(
    index: int, scores: dict[str, float], span: tuple[int, int]
) -> ScoreFrame:
    start = index * HOP
    return ScoreFrame(
        source="file",
        start=start,
        stop=start + SPEC.window_samples,
        scores=tuple(scores.get(label, 0.1) for label in LABELS),
        spans=(span,) * len(LABELS),
        level_dbfs=-40.0,
        peak_level_dbfs=-40.0,
        laeq_db=45.0,
    )


def windows(seconds: float) -> list[ScoreFrame]:
    count = max(0, (samples(seconds) - SPEC.window_samples) // HOP + 1)
    return [
        score_frame(index, {}, (index * HOP, index * HOP + SPEC.window_samples))
        for index in range(count)
    ]
