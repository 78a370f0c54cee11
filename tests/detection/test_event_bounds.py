"""Bounds of events, drawn: one window in a row, = where it is active."""

import pytest

from monitor.detection.event_bounds import (
    EventBounds,
    LabelWindow,
    first_active,
    last_active,
)
from monitor.records import ScoreFrame

# A window has eight columns; each begins two columns after the one before.
HOP = 2


def windows(drawing: str, first_known: int | None = None) -> list[LabelWindow]:
    """Rows such as `  ..==|`: where the window is, = where it is active."""
    rows = [row for row in drawing.splitlines() if row.strip()]
    left = min(len(row) - len(row.lstrip()) for row in rows)
    result = []
    for row in (row[left:].rstrip() for row in rows):
        start = len(row) - len(row.lstrip())
        span = (row.index("="), row.rindex("=") + 1)
        frame = ScoreFrame("s", start, len(row), (0.9,), (span,), 0.0, 0.0, 0.0)
        known = len(row) - HOP
        if not result and first_known is not None:
            known = first_known
        result.append(LabelWindow(frame, 0.9, 0.0, *span, known, False))
    return result


@pytest.mark.parametrize(
    ("drawing", "start", "stop"),
    [
        (
            """
            .....===
              ...===..
                .===....
                  ==......
            """,
            5,
            8,  # a short sound: later windows hold less and less of it
        ),
        (
            """
            .....===
              ...=====
                .=======
                  ========
                    ========
                      =====...
                        ===.....
            """,
            5,
            15,  # windows that it fills have no vote on either end
        ),
        (
            """
            ....====
              ...===..
                .===....
            """,
            5,
            8,  # the first is alone in hearing it so early
        ),
        (
            """
            .....===
              ...=====
                .===....
                  ==......
            """,
            5,
            8,  # the second is alone in hearing it so late
        ),
        (
            """
            .....===
              ...===..
                .==.....
            """,
            5,
            8,  # the third is alone in not hearing it so late
        ),
        (
            """
            .....===
              ...=====
            """,
            5,
            10,  # no older window covers the newest hop
        ),
        (
            """
            .....==.
              ....===.
            """,
            5,
            9,  # between two windows, the longer interval
        ),
    ],
)
def test_a_moment_is_in_the_event_if_half_of_its_windows_are_active(
    drawing: str, start: int, stop: int
):
    assert first_active(windows(drawing), earliest=2) == start
    assert last_active(windows(drawing)) == stop
    run = EventBounds(windows(drawing), floor=0)
    assert (run.start, run.stop) == (start, stop)


def test_the_start_is_at_most_half_a_window_before_the_newest_hop():
    drawing = """
    ========
      ========
    """
    # The window before, which did not count, held all but the last two columns.
    assert EventBounds(windows(drawing), floor=0).start == 8 - HOP - 4


def test_the_start_is_unbounded_where_nothing_was_detected_before():
    assert EventBounds(windows("========", first_known=0), floor=0).start == 0


def test_a_late_detection_keeps_the_true_place_of_the_sound():
    assert EventBounds(windows("==......"), floor=0).start == 0


def test_a_span_that_reaches_into_an_older_sound_does_not_place_the_start():
    drawing = """
    .======.
      ...==...
    """
    two = windows(drawing)
    run = EventBounds(two[:1], floor=3)
    assert (run.start, run.stop) == (6, 7)  # in the newest hop
    run.add(two[1])
    assert (run.start, run.stop) == (5, 7)


def test_no_event_begins_before_the_floor_even_in_the_newest_hop():
    assert EventBounds(windows("....===="), floor=7).start == 7


def test_an_event_is_never_empty():
    drawing = """
    ....====
      ..==....
        ==......
    """
    # All reach back before the floor, so the start is that of the newest hop; and the
    # first is alone in hearing anything there.
    run = EventBounds(windows(drawing), floor=5)
    assert (run.start, run.stop) == (6, 7)


def test_the_mean_is_over_all_windows_and_the_peak_the_first_of_the_highest():
    first, second, third = windows("""
    ....====
      ..======
        ========
    """)
    scores = (0.5, 0.9, 0.9)
    run = EventBounds(
        [
            LabelWindow(each.frame, score, 0.0, *each.frame.spans[0], 0, False)
            for each, score in zip((first, second, third), scores, strict=True)
        ],
        floor=0,
    )
    assert run.mean_score == pytest.approx(sum(scores) / 3)
    assert run.peak.frame is second.frame
