"""Curves of labels in a model card, for tests."""

from collections.abc import Sequence

from monitor.model.thresholds import CurvePoint, Thresholds


def curve_of(onsets: Sequence[float]) -> tuple[CurvePoint, ...]:
    """A curve along which more is detected, earlier, and with more false alarms."""
    return tuple(
        CurvePoint(
            onset=onset,
            detected_near=0.5 + 0.05 * index,
            detected_far=0.2 + 0.05 * index,
            latency_seconds=3 - 0.2 * index,
            false_alarms_per_hour=0.01 * index**2,
            false_alarms_per_hour_at_most=0.3 + 0.02 * index**2,
        )
        for index, onset in enumerate(onsets)
    )


def thresholds_on_curve(onsets: Sequence[float]) -> Thresholds:
    """Thresholds with a curve; the offset threshold is half the onset threshold."""
    onset = onsets[5]
    return Thresholds(onset=onset, offset=onset / 2, curve=curve_of(onsets))
