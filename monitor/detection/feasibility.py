"""The sounds for which a rule can fire, and its latency, found by trial.

A perfect network scores sounds at many places between two windows, and the detector is
the one that runs.  So the answers cannot go out of step with it.
"""

from bisect import bisect, bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule
from monitor.records import Onset, ScoreFrame
from monitor.spec import ModelSpec

Interval = tuple[int, int | None]
"""Start and stop of a sound; None: it goes on for ever."""

_PLACES = 8
"""Places between two windows at which a sound is tried, besides the outermost."""


@dataclass(frozen=True, slots=True)
class Feasibility:
    """The abilities of one label's rule, with a perfect network."""

    label: str
    can_fire: bool
    """True if it detects the shortest sounds that it is meant for, at any position."""

    why: str
    """An explanation for the user: a sentence whose subject is the rule."""

    shortest_sound_seconds: float
    """The shortest sound that is detected wherever it lies."""

    latency_bound_seconds: float
    """Longest time from the begin of a sound to the end of the window that detects
    its onset: the latency that the rule adds to the network's."""

    shortest_pause_seconds: float
    """The shortest silence between two sounds that makes them two events."""


def examine(
    rules: Mapping[str, LabelRule], hop_samples: int, spec: ModelSpec
) -> list[Feasibility]:
    """Try each rule out; those that act alike with a perfect network are tried once.

    Returns:
        One answer for each label, in the order of `rules`.
    """
    known: dict[LabelRule, _Figures] = {}
    answers = []
    for label, rule in rules.items():
        alike = _canonical(rule)
        if alike not in known:
            known[alike] = _figures(_Trial(alike, hop_samples, spec), rule, hop_samples)
        answers.append(_answer(label, rule, known[alike], hop_samples, spec))
    return answers


class _Figures(NamedTuple):
    """The results of a trial in samples; see `Feasibility`."""

    shortest_sound: int
    latency: int
    shortest_pause: int


def _canonical(rule: LabelRule) -> LabelRule:
    """The rule with thresholds that act alike with a perfect network.

    Its scores are 0 or 1, so the average of n scores is a multiple of 1/n, and a
    threshold acts as the next multiple does.
    """
    hops = rule.smoothing_hops
    averages = [count / hops for count in range(1, hops + 1)]
    return replace(
        rule,
        onset_threshold=averages[bisect_left(averages, rule.onset_threshold)],
        offset_threshold=averages[bisect_left(averages, rule.offset_threshold)],
    )


def _figures(trial: "_Trial", rule: LabelRule, hop: int) -> _Figures:
    shortest = trial.shortest_sound()
    length = max(rule.shortest_sound, shortest + hop // _PLACES)
    return _Figures(shortest, trial.latency(length), trial.shortest_pause(length))


def _answer(
    label: str, rule: LabelRule, figures: _Figures, hop: int, spec: ModelSpec
) -> Feasibility:
    shortest, latency, pause = figures
    can_fire = shortest <= rule.shortest_sound
    if can_fire:
        why = (
            f"detects sounds of {_text(spec, shortest)} and more, at most "
            f"{_text(spec, latency)} after the network first scores them; those "
            f"with {_text(spec, pause)} of silence between them are two events"
        )
    else:
        why = "; ".join(_complaints(rule, shortest, hop, spec))
    return Feasibility(
        label,
        can_fire,
        why,
        spec.seconds(shortest),
        spec.seconds(latency),
        spec.seconds(pause),
    )


def _complaints(
    rule: LabelRule, shortest: int, hop: int, spec: ModelSpec
) -> Iterator[str]:
    """The settings that keep the rule from firing, and values that would help."""
    wanted = rule.shortest_sound
    yield (
        f"misses sounds of {_text(spec, wanted)}, which it is meant for: "
        f"the shortest that it detects last {_text(spec, shortest)}"
    )
    if rule.min_duration_on > wanted:
        yield (
            f"min_duration_on_seconds: {_number(spec, rule.min_duration_on)} "
            f"should not be more than {_number(spec, wanted)}"
        )

    def is_too_smooth(hops: int) -> bool:
        other = replace(rule, smoothing_hops=hops, min_duration_on=0)
        return not _Trial(other, hop, spec).detects(wanted)

    most = bisect(range(1, rule.smoothing_hops + 1), False, key=is_too_smooth)
    if most < rule.smoothing_hops:
        windows = -(-(spec.window_samples + wanted) // hop)
        yield (
            f"smoothing_hops: {rule.smoothing_hops} should not be more than {most}, "
            f"for such a sound is in {windows} windows at the most"
        )


def _text(spec: ModelSpec, samples: int) -> str:
    return f"{_number(spec, samples)} s"


def _number(spec: ModelSpec, samples: int) -> str:
    return f"{round(spec.seconds(samples), 2):g}"


class _Trial:
    """Plays sounds to a detector with one rule and a perfect network."""

    def __init__(self, rule: LabelRule, hop: int, spec: ModelSpec) -> None:
        self._rule = rule
        self._hop = hop
        self._spec = spec
        # Silence before the sound, so that the scores averaged with it are all low.
        window_stop = spec.window_samples + rule.smoothing_hops * hop
        window_start = -window_stop % hop
        places = {*range(0, hop, max(1, hop // _PLACES)), hop - 1}
        places |= {place % hop for place in (1, window_start, window_start - 1)}
        self._starts = [window_stop + place for place in sorted(places)]

    def shortest_sound(self) -> int:
        """Length of the shortest sound that is detected wherever it starts."""
        # Sound after the onset cannot matter: that long is long enough.
        return self._least(self.detects, self.latency(None))

    def latency(self, length: int | None) -> int:
        """Longest time from the start of a sound to the window of its onset."""
        latencies: list[int] = []
        for start in self._starts:
            stop = None if length is None else start + length
            latencies.append(next(self._onsets([(start, stop)])) - start)
        return max(latencies)

    def shortest_pause(self, length: int) -> int:
        """Shortest silence between two sounds of `length` that makes two events."""
        rule = self._rule
        lull = max(rule.min_duration_off, rule.refractory)
        silence = self._spec.window_samples + (rule.smoothing_hops + 1) * self._hop

        def makes_two(pause: int) -> bool:
            return all(
                len(list(self._onsets(_twice(start, length, pause)))) == 2
                for start in self._starts
            )

        return self._least(makes_two, lull + silence)

    def detects(self, length: int) -> bool:
        """Test whether a sound of `length` is detected wherever it starts."""
        return all(
            next(self._onsets([(start, start + length)]), None) is not None
            for start in self._starts
        )

    def _least(self, holds: Callable[[int], bool], high: int) -> int:
        """The least value for which `holds`, as it does for `high`, to a frame."""
        low = 0
        resolution = max(self._spec.hop_length, high // 250)
        while high - low > resolution:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return high

    def _onsets(self, sounds: Sequence[Interval]) -> Iterator[int]:
        """Ends of the windows that detect an onset."""
        label = "sound"
        detector = Detector(label, [label], {label: self._rule}, -200.0, "", "")
        start, (_, last) = 0, sounds[-1]
        while last is None or start < last:
            frame = _perfect_frame(start, start + self._spec.window_samples, sounds)
            for record in detector.push(frame):
                if isinstance(record, Onset):
                    yield frame.stop
            start += self._hop


def _twice(start: int, length: int, pause: int) -> tuple[Interval, Interval]:
    second = start + length + pause
    return (start, start + length), (second, second + length)


def _perfect_frame(start: int, stop: int, sounds: Sequence[Interval]) -> ScoreFrame:
    """The scores of a network that is active for the samples of sounds alone."""
    active = [
        (max(first, start), stop if last is None else min(last, stop))
        for first, last in sounds
        if first < stop and (last is None or last > start)
    ]
    score = 1.0 if active else 0.0
    span = (active[0][0], active[-1][1]) if active else (start, stop)
    return ScoreFrame("sound", start, stop, (score,), (span,), 0.0, 0.0, 0.0)
