"""A worker that is late leaves out windows, evenly, and no more than it must."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.runtime.overload import (
    LATE_HOPS,
    LoadShedding,
    Turn,
    whole_turns,
)

HOP_SECONDS = 0.5


def add_loud_turn(shed: LoadShedding, window_seconds: float) -> None:
    shed.add_turn(10 * window_seconds, {"x": 10}, {"x": 10})


def shedding(*window_seconds: float) -> LoadShedding:
    shed = LoadShedding()
    for seconds in window_seconds:
        add_loud_turn(shed, seconds)
    return shed


def test_what_can_be_caught_up_on_in_two_hops_is_analysed() -> None:
    due = {"street": 50, "yard": 50}
    turns = [Turn(["street"], None), Turn(["yard"], None)]
    assert shedding(0.01).turns(due, HOP_SECONDS) == turns


def test_beyond_that_each_source_goes_on_at_as_many_windows_as_there_is_time_for() -> (
    None
):
    due = {"street": 60, "yard": 50}
    assert shedding(0.01).turns(due, HOP_SECONDS) == [Turn(["street", "yard"], 50)]
    assert shedding(0.4).turns(due, HOP_SECONDS) == [Turn(["street", "yard"], 1)]


def test_with_too_many_sources_each_has_its_turn_and_none_waits_for_all() -> None:
    due = dict.fromkeys("abcde", 9)
    assert shedding(0.4).turns(due, HOP_SECONDS) == [
        Turn(["a", "b"], 1),
        Turn(["c", "d"], 1),
        Turn(["e"], 1),
    ]


def test_one_step_that_was_held_up_is_no_overload() -> None:
    due = {"street": 40}
    held_up = shedding(0.01, 9.0, 9.0)
    assert held_up.turns(due, HOP_SECONDS) == [Turn(["street"], None)]
    add_loud_turn(held_up, 9.0)
    assert held_up.turns(due, HOP_SECONDS) == [Turn(["street"], 1)]


def test_the_time_of_quiet_windows_is_not_counted_as_that_of_loud_ones() -> None:
    shed = LoadShedding()
    names = [f"quiet-{number}" for number in range(50)]
    quiet, loud = dict.fromkeys(names, 1), {"loud": 1}
    for _ in range(3):
        shed.add_turn(50 * 0.001 + 0.01, quiet | loud, loud)
    due = dict.fromkeys([*names, "loud"], 10)
    turns = shed.turns(due, HOP_SECONDS)
    assert [turn.most_windows for turn in turns] == [None] * len(turns)
    # After turns without the loud one, what each of them costs is known.
    shed.add_turn(50 * 0.001, quiet, {})
    for _ in range(3):
        shed.add_turn(50 * 0.001 + 0.01, quiet | loud, loud)
    assert shed.turns({"loud": 90}, HOP_SECONDS) == [Turn(["loud"], None)]
    assert shed.turns({"loud": 95}, HOP_SECONDS) == [Turn(["loud"], 90)]
    assert shed.turns(dict.fromkeys(names, 19), HOP_SECONDS)[0].most_windows is None
    assert shed.turns(dict.fromkeys(names, 21), HOP_SECONDS)[0].most_windows == 20


def test_a_source_that_becomes_loud_is_counted_as_such_at_once() -> None:
    shed = shedding(0.4)
    shed.add_turn(0.001, {"street": 1}, {})
    assert shed.turns({"street": 20}, HOP_SECONDS) == [Turn(["street"], None)]
    shed.add_turn(0.4, {"street": 1}, {"street": 1})
    assert shed.turns({"street": 20}, HOP_SECONDS) == [Turn(["street"], 2)]


def test_before_the_first_window_and_without_any_nothing_is_left_out() -> None:
    shed = LoadShedding()
    shed.add_turn(5.0, {}, {})
    assert shed.turns({"street": 40}, HOP_SECONDS) == [Turn(["street"], None)]


def test_what_is_analysed_whole_is_divided_into_turns_of_limited_size() -> None:
    assert whole_turns({}) == []
    assert whole_turns({"a": 0, "b": 1, "c": 31}) == [Turn(["a", "b", "c"], None)]
    assert whole_turns({"a": 28, "b": 5, "c": 100, "d": 1}) == [
        Turn(["a"], None),
        Turn(["b"], None),
        Turn(["c"], None),
        Turn(["d"], None),
    ]


@given(
    due=st.dictionaries(st.text(max_size=3), st.integers(0, 1000), max_size=30),
    seconds=st.floats(1e-6, 100),
)
def test_every_source_has_one_turn_and_no_turn_takes_longer_than_two_hops_or_a_window(
    due: dict[str, int], seconds: float
) -> None:
    turns = shedding(seconds).turns(due, HOP_SECONDS)
    assert [name for turn in turns for name in turn.sources] == list(due)
    for turn in turns:
        most = turn.most_windows or 1000
        windows = sum(min(due[name], most) for name in turn.sources)
        late = LATE_HOPS * HOP_SECONDS
        assert windows * seconds <= max(late * 1.000001, seconds)
