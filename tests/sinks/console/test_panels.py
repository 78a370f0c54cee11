"""The panels of sources and of scores."""

from rich.color import ColorSystem

from monitor.sinks.console import panels
from monitor.sinks.console.paint import (
    UNICODE,
    Canvas,
)
from monitor.statistics import Listened
from tests.support.console import (
    busy_state,
    console_state,
    display,
    line_with,
)
from tests.support.timed import (
    LABELS,
    frame,
    statistics,
)


def test_of_many_labels_the_ongoing_one_and_the_highest_are_shown() -> None:
    one = console_state("street")
    scores = {label: 0.5 + 0.05 * place for place, label in enumerate(LABELS)}
    one.take(frame("street", 15.4, {**scores, "siren": 0.4}, ongoing=["siren"]))
    canvas = Canvas(80, 24, UNICODE, ColorSystem.TRUECOLOR)
    _, *lines = panels.scores(one, [*one.sources.values()], 80, 4, canvas)
    names = [line[1].text.strip() for line in lines]
    assert names == ["jackhammer", "siren", "street_music"]


def test_a_strip_has_its_frequencies_beside_it() -> None:
    bands = tuple(100.0 * 2 ** (place / 6) for place in range(48))
    busy = busy_state("street")
    busy.setup = busy.setup._replace(band_hz=bands)
    lines = display(busy, 120, 40)
    heads = [line[:5].strip() for line in lines]
    assert heads.index("8k") < heads.index("2k") < heads.index("250")


def test_the_level_of_the_latest_minute_stands_beside_each_of_many_sources() -> None:
    for names, is_drawn in ((("s1",), False), (("s1", "s2"), True)):
        busy = busy_state(*names)
        for place in range(40):
            for name in names:
                busy.take(frame(name, 20.0 + place))
        head = line_with(display(busy, 120, 24), "● s1 ", "listening")
        assert any(mark in head for mark in UNICODE.heights) == is_drawn


def test_the_sentence_of_the_status_has_the_line_where_both_do_not_fit() -> None:
    wide, narrow = (display(busy_state("street"), width)[-2] for width in (80, 50))
    assert "latency" in wide
    assert "latency" not in narrow
    assert wide.split(" latency")[0].strip() == narrow.strip()


def test_losses_have_the_line_before_the_level_and_it_before_a_full_share() -> None:
    for width, lost, is_said in ((72, 0.0, False), (92, 2.3, True)):
        busy = busy_state("s1", "s2")
        listened = Listened(62.3, 0.963)
        gaps = int(lost > 0)
        busy.report(
            statistics("s1", "s2", lost_seconds=lost, gaps=gaps, listened=listened)
        )
        head = line_with(display(busy, width), "● s1 ", "listening")
        assert ("listened 96.30 %" in head) == is_said
        assert any(mark in head for mark in UNICODE.heights) != is_said
