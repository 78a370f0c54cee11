"""Can a rule fire at all, for which sounds, and how soon?

Found by trial: a perfect network listens to sounds at many places between two windows,
and the detector is the one that runs.  So the answers cannot go out of step with it.
"""

from bisect import bisect, bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule
from monitor.records import Onset, ScoreFrame
from monitor.spec import ModelSpec

Stretch = tuple[int, int | None]
"""Where a sound starts and stops; None: it goes on for ever."""

_PLACES = 8
"""Places between two windows at which a sound is tried, besides the outermost."""


@dataclass(frozen=True, slots=True)
class Feasibility:
    """What the rule of one label can do."""

    label: str
    can_fire: bool
    """For the shortest sounds that its preset is meant for, wherever they lie."""

    why: str
    """What the user should know of it: a sentence whose subject is the rule."""

    shortest_sound_seconds: float
    """The shortest sound that is told wherever it lies, with a perfect network."""

    latency_bound_seconds: float
    """From where a sound begins to the end of the window that tells its onset, at the
    most, with a perfect network: what the rule adds to the time the network needs."""

    shortest_pause_seconds: float
    """The shortest silence between two sounds that makes them two events."""


def examine(
    rules: Mapping[str, LabelRule], hop_samples: int, spec: ModelSpec
) -> list[Feasibility]:
    """Try each rule out.

    Args:
        rules: By label; those that nothing here can tell apart are tried once.
        hop_samples: From one window to the next.
        spec: Of the model.

    Returns:
        One answer for each label, in the order of `rules`.
    """
    known: dict[LabelRule, _Figures] = {}
    answers = []
    for label, rule in rules.items():
        heard = _as_heard(rule)
        if heard not in known:
            known[heard] = _figures(_Trial(heard, hop_samples, spec), rule, hop_samples)
        answers.append(_answer(label, rule, known[heard], hop_samples, spec))
    return answers


class _Figures(NamedTuple):
    """What was found by trial, in samples; see `Feasibility`."""

    shortest_sound: int
    latency: int
    shortest_pause: int


def _as_heard(rule: LabelRule) -> LabelRule:
    """The rule with the thresholds that a perfect network makes of its own.

    Such a network says 0 or 1, so the average of n scores is a multiple of 1/n, and a
    threshold does what the next multiple does.
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
            f"tells sounds of {_text(spec, shortest)} and more, at most "
            f"{_text(spec, latency)} after the network first hears them; those "
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
    """What keeps the rule from firing, and what would help."""
    wanted = rule.shortest_sound
    yield (
        f"misses sounds of {_text(spec, wanted)}, which it is meant for: "
        f"the shortest that it tells last {_text(spec, shortest)}"
    )
    if rule.min_duration_on > wanted:
        yield (
            f"min_duration_on_seconds: {_number(spec, rule.min_duration_on)} "
            f"should not be more than {_number(spec, wanted)}"
        )

    def is_too_smooth(hops: int) -> bool:
        other = replace(rule, smoothing_hops=hops, min_duration_on=0)
        return not _Trial(other, hop, spec).is_told(wanted)

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
        """Length of the shortest sound that is told wherever it starts."""
        # What comes after the onset cannot matter: that long is long enough.
        return self._least(self.is_told, self.latency(None))

    def latency(self, length: int | None) -> int:
        """From the start of a sound to the window that tells it, at the most."""
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

    def is_told(self, length: int) -> bool:
        """Whether a sound of `length` is told wherever it starts."""
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

    def _onsets(self, sounds: Sequence[Stretch]) -> Iterator[int]:
        """Ends of the windows that tell an onset."""
        label = "sound"
        detector = Detector(label, [label], {label: self._rule}, -200.0, "", "")
        start, (_, last) = 0, sounds[-1]
        while last is None or start < last:
            frame = _perfect_frame(start, start + self._spec.window_samples, sounds)
            for record in detector.push(frame):
                if isinstance(record, Onset):
                    yield frame.stop
            start += self._hop


def _twice(start: int, length: int, pause: int) -> tuple[Stretch, Stretch]:
    second = start + length + pause
    return (start, start + length), (second, second + length)


def _perfect_frame(start: int, stop: int, sounds: Sequence[Stretch]) -> ScoreFrame:
    """What a network says that hears each sample of a sound, and nothing else."""
    heard = [
        (max(first, start), stop if last is None else min(last, stop))
        for first, last in sounds
        if first < stop and (last is None or last > start)
    ]
    score = 1.0 if heard else 0.0
    span = (heard[0][0], heard[-1][1]) if heard else (start, stop)
    return ScoreFrame("sound", start, stop, (score,), (span,), 0.0, 0.0, 0.0)
