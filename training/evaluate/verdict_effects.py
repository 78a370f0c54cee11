"""Effects of new thresholds on the events that people have reviewed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.config.detection import DetectionSettings
from monitor.detection.rules import resolve_rules
from monitor.model.models import Models
from monitor.text import counted
from training.evaluate.recalibrate import LabelThreshold, RecallCost
from training.evaluate.reviewed import LEAST_VERDICTS, LabelVerdicts


@dataclass(frozen=True, slots=True)
class VerdictEffect:
    """The reviewed events of a label at its present and at its new threshold."""

    label: str
    confirmed: int
    """Events in which people heard it."""
    rejected: int
    """Its events in which it did not sound."""
    confirmed_scored: int
    """Those whose scores are stored; the figures below are of these."""
    rejected_scored: int
    is_used: bool
    """False: they are too few, and changed nothing."""
    onset_before: float
    """The onset threshold of the configuration."""
    onset: float
    confirmed_missed_before: int
    confirmed_missed: int
    """Confirmed events that would no longer be reported."""
    rejected_reported_before: int
    rejected_reported: int
    """Rejected events that would still be reported."""


def verdict_effects(
    verdicts: Mapping[str, LabelVerdicts],
    found: Sequence[LabelThreshold],
    models: Models,
    detection: DetectionSettings,
) -> list[VerdictEffect]:
    """Compare the scores of reviewed events with the thresholds before and after.

    Labels without a verdict are left out.
    """
    if not verdicts:
        return []
    rules = resolve_rules(
        models.labels,
        detection,
        models.thresholds,
        models.spec,
        models.presets,
        others=detection.labels,
    )
    effects = []
    for each in found:
        if (own := verdicts.get(each.label)) is None:
            continue
        before, after = rules[each.label].onset_threshold, each.threshold.onset
        yes, no = own.confirmed_scores, own.rejected_scores
        effects.append(
            VerdictEffect(
                each.label,
                own.confirmed,
                own.rejected,
                len(yes),
                len(no),
                own.is_used,
                before,
                after,
                len(yes) - _reaching(yes, before),
                len(yes) - _reaching(yes, after),
                _reaching(no, before),
                _reaching(no, after),
            )
        )
    return effects


def confirmed_costs(effects: Sequence[VerdictEffect]) -> dict[str, RecallCost]:
    """Count the confirmed events that are missed, by label, where verdicts are used."""
    return {
        each.label: RecallCost(
            each.confirmed_scored, each.confirmed_missed_before, each.confirmed_missed
        )
        for each in effects
        if each.is_used and each.confirmed_scored
    }


def _reaching(scores: NDArray[np.float32], onset: float) -> int:
    return int((scores >= onset).sum())


def verdict_lines(effects: Sequence[VerdictEffect]) -> Iterator[str]:
    """Describe how many verdicts went in, and what becomes of their events."""
    for each in effects:
        scored = each.confirmed_scored + each.rejected_scored
        lost = each.confirmed + each.rejected - scored
        text = (
            f"verdicts of {each.label}: {each.confirmed} right, {each.rejected} wrong"
        )
        if lost:
            text += f", {lost} of these without stored scores"
        if not each.is_used:
            yield f"{text}; fewer than {LEAST_VERDICTS} with scores change nothing"
            continue
        yield (
            f"{text}; of the right ones {each.confirmed_missed} would be missed "
            f"(now {each.confirmed_missed_before}), of the wrong ones "
            f"{each.rejected_reported} reported (now {each.rejected_reported_before})"
        )
    if any(each.is_used for each in effects):
        used = sum(
            each.confirmed_scored + each.rejected_scored
            for each in effects
            if each.is_used
        )
        yield (
            f"{counted(used, 'verdict')} went in.  The recall of these labels is that "
            "of events that were reported, then found right; nobody could judge what "
            "the thresholds of that time have missed."
        )
