"""Why a label does not begin: each reason, by the real detector.

# at or above the onset threshold   + between the thresholds   . below the offset one
_ below the level gate
"""

import pytest

from monitor.detection.detector import Detector
from monitor.records import Candidate, Gap
from tests.support.detection import GATE_DBFS, detector, rule
from tests.support.scores import SPEC, WINDOW, SimulatedNetwork, Sound, drawn

MARKS = {
    "threshold": "t",
    "smoothing": "s",
    "duration": "d",
    "rival": "r",
    "gate": "g",
    "refractory": "f",
    "old": "o",
    "silent": "x",
    None: "!",
}


def reasons(tested: Detector, *rows: str, gate: str = "", label: str = "a") -> str:
    """The reason of a label at each frame, `!` where its event goes on."""
    found = ""
    for frame in drawn(*rows, gate=gate):
        tested.push(frame)
        candidates = tested.candidates(frame, len(rows))
        found += next(MARKS[it.held_back] for it in candidates if it.label == label)
    return found


@pytest.mark.parametrize(
    ("changes", "scores", "expected"),
    [
        ({}, "..++##++..", "tttt!!!!tt"),
        ({"min_duration_on": 3, "min_duration_off": 2}, ".####.....", "tdd!!!tttt"),
        ({"min_duration_on": 3, "min_duration_off": 2}, ".##.......", "tdddtttttt"),
        ({"smoothing_hops": 3}, "..999..", "ttss!tt"),
        ({"smoothing_hops": 3}, "..55...", "ttttttt"),  # smoothing is not the reason
        ({"refractory": 3}, "##.####..", "!!tff!!tt"),
    ],
)
def test_a_label_is_held_back_by(
    changes: dict[str, float], scores: str, expected: str
) -> None:
    assert reasons(detector(rule(**changes)), scores) == expected


def test_the_level_gate_holds_back_every_label() -> None:
    tested = detector(rule())
    assert reasons(tested, ".#####.", gate="__  ___") == "gg!!ggg"


def test_a_rival_is_named() -> None:
    tested = detector(rule(margin=0.3), rule(), rule())
    assert reasons(tested, ".##9#.", ".#8.+.", "..9...") == "trr!!t"
    (frame,) = drawn("#", "8", "7")
    again = detector(rule(margin=0.3), rule(), rule())
    again.push(frame)
    assert again.candidates(frame, 2) == (
        Candidate("a", 0.9, 0.7, "rival", "b"),
        Candidate("b", 0.8, 0.7, None),
    )


def test_the_sound_of_the_event_before_is_old() -> None:
    """Windows of four seconds hold a sound long after its event has ended."""
    network = SimulatedNetwork(("a",))
    sound = Sound("a", WINDOW, WINDOW + SPEC.samples(1.0))
    tested = detector(rule(min_duration_off=SPEC.samples(1.0)))
    found = ""
    for frame in network.frames([sound], 4 * WINDOW):
        tested.push(frame)
        found += MARKS[tested.candidates(frame, 1)[0].held_back]
    assert set(found) == {"t", "!", "o"}
    before, _, after = found.partition("!")
    assert set(before) == {"t"}
    assert after.strip("!").rstrip("t").strip("o") == ""
    assert after.count("o") >= 2


def test_labels_that_are_not_reported_are_silent_and_the_highest_come_first() -> None:
    rules = {"b": rule()}
    tested = Detector("street", ["a", "b", "c"], rules, GATE_DBFS, "m", "session")
    (frame,) = drawn("9", "2", "4")
    tested.push(frame)
    assert tested.candidates(frame, 2) == (
        Candidate("a", 0.9, None, "silent"),
        Candidate("c", 0.4, None, "silent"),
    )


def test_after_a_gap_nothing_is_left_of_the_window_before() -> None:
    tested = detector(rule(smoothing_hops=2))
    for frame in drawn(".#"):
        tested.push(frame)
    assert tested.candidates(frame, 1)[0].held_back == "smoothing"
    tested.gap(Gap("street", 2, 9, "stalled"))
    assert tested.candidates(frame, 1)[0].held_back == "threshold"
