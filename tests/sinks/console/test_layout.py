from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import ColorSystem

from monitor.records import EVERY_SOURCE, HealthKind, ScoreFrame, Timed
from monitor.sinks.console.layout import draw
from monitor.sinks.console.paint import (
    ASCII,
    BAD,
    PLAIN,
    UNICODE,
    Canvas,
    encoded,
)
from monitor.sinks.console.sources import ViewState
from monitor.sinks.console.state import ConsoleState
from monitor.sinks.console.strip import Strip
from monitor.statistics import Listened, Trouble
from monitor.text import HEALTH_KINDS, WeightedUnits
from tests.support.console import (
    NOW,
    busy_state,
    console_state,
    display,
    line_with,
    setup_of,
    strip,
)
from tests.support.health import trouble
from tests.support.terminal import Screen
from tests.support.timed import (
    LABELS,
    OPENED,
    SAMPLE_RATE,
    event,
    frame,
    gap,
    onset,
    state,
    statistics,
)

SIZES = [(80, 24), (120, 40), (200, 50)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_one_source_is_shown_completely(width: int, height: int) -> None:
    lines = display(busy_state("street"), width, height)
    assert "urban" in lines[0]
    lost = "listened 96.30 %, lost 2.3 s in 1 gap"
    assert line_with(lines, "street", "listening", lost)
    for fact in ("-32.4 dBFS", "52.1 dBFS(A)", "up 3h 12m", "q stop", "today", "now"):
        assert any(fact in line for line in lines), fact
    assert sum("▀" in line for line in lines) >= height // 4
    assert line_with(lines, " siren ", "━", "0.93 ●")
    assert any("lost audio: " in line for line in lines)
    assert "latency 0.12 s · 48 times real time" in lines[-2]


def test_only_labels_that_rise_are_shown() -> None:
    """A threshold of 0.7 is half reached at 0.35, other labels have one of 1.0."""
    lines = display(busy_state("street"), 200, 50)
    assert line_with(lines, " siren ", "━")
    for label in LABELS:
        assert label == "siren" or not any(f" {label} " in line for line in lines)
    one = console_state("street")
    one.take(frame(scores={"siren": 0.36}))
    assert line_with(display(one), " siren ", "0.36")
    one.take(frame(stop_seconds=33.0))
    assert line_with(display(one), " siren ", "0.02")
    one.take(frame(stop_seconds=34.1))
    assert any("nothing rises" in line for line in display(one))


def test_a_label_is_marked_while_it_is_ongoing() -> None:
    one = console_state("street")
    for record, words in (
        (frame(scores={"siren": 0.93}, ongoing=["siren"]), "0.93 ●"),
        (event(), "0.93  "),
        (frame(scores={"siren": 0.91}, ongoing=["siren"]), "0.91 ●"),
        (frame(scores={"siren": 0.90}), "0.90  "),
    ):
        one.take(record)
        assert words in line_with(display(one), " siren ", "─")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_each_source_has_its_strip(width: int, height: int) -> None:
    sources = ("street", "yard", "roof")
    lines = display(busy_state(*sources), width, height)
    heads = [
        lines.index(line_with(lines, f"● {name} ", "listening")) for name in sources
    ]
    for head in heads:
        assert "▀" in lines[head + 1]
    assert "tab source: all" in lines[-1]


def test_one_of_several_sources_is_shown_alone() -> None:
    seen = busy_state("street", "yard")
    view = ViewState(NOW, {"yard": strip()}, focus="yard")
    lines = display(seen, view=view)
    assert line_with(lines, "● yard ", "listening")
    assert not any("street" in line for line in lines[:-2])


def test_sources_that_do_not_fit_are_counted() -> None:
    crowd = busy_state(*(f"s{number}" for number in range(30)))
    crowd.take(state("s29", "waiting"))
    lines = display(crowd)
    shown = sum("● s" in line and "listening" in line for line in lines)
    rest = 30 - shown
    assert shown > 5
    assert line_with(lines, f"and {rest} more: {rest - 1} listening, 1 waiting")


def test_a_source_that_does_not_listen_shows_the_reason() -> None:
    silent = busy_state("street")
    silent.take(state("street", "waiting", "no microphone 'default'"))
    view = ViewState(NOW, {"street": Strip()})
    lines = display(silent, view=view)
    source = line_with(lines, "street", "waiting", "no microphone 'default'")
    assert "dBFS" not in source
    assert any("waiting for sound" in line for line in lines)


def test_a_late_worker_is_shown() -> None:
    late = busy_state("street")
    report = statistics("street")
    behind = replace(report.sources[0], backlog_samples=5 * SAMPLE_RATE)
    late.report(replace(report, sources=(behind,)))
    assert line_with(display(late), "street", "late 5.0 s")


def test_the_duration_of_an_onset_grows_until_its_event_replaces_it() -> None:
    one = console_state("street")
    one.take(onset())
    for seconds, words in ((15.4, "2.0 s"), (20.0, "6.6 s")):
        one.take(frame("street", seconds))
        assert words in line_with(display(one), "siren", "0.93")
    one.take(event())
    assert "6.7 s" in line_with(display(one), "siren", "0.93", "63.3")


def test_the_newest_record_is_first_and_the_oldest_are_left_out() -> None:
    eventful = console_state("street")
    for number in range(40):
        eventful.take(event(start_seconds=60.0 * number, seconds=1, number=number))
    lines = [line for line in display(eventful) if " siren " in line and "63.3" in line]
    times = [line.split()[0] for line in lines]
    local = OPENED.replace(tzinfo=UTC).astimezone()
    assert times == sorted(times, reverse=True)
    assert len(times) < 10
    assert times[0].endswith(f"{(local.minute + 39) % 60:02d}:00")


def test_the_events_of_today_are_counted_until_midnight() -> None:
    counted = console_state("street")
    for number in range(3):
        counted.take(event(number=number))
    counted.take(event(label="dog_bark", number=9))
    earlier = event(label="gun_shot", number=10, opened=OPENED - timedelta(hours=1))
    counted.take(earlier)  # the database has counted it
    assert counted.counts == {"siren": 3, "dog_bark": 1}
    assert line_with(display(counted), "today", " 4 ")
    counted.counted_from = OPENED
    assert any("since " in line for line in display(counted))
    counted.begin_day(OPENED + timedelta(days=1))
    counted.take(event(number=11))  # of yesterday
    assert not counted.counts


def test_an_event_that_goes_on_is_counted_once() -> None:
    counted = console_state("street")
    for record in (onset(number=1), event(number=1)):
        counted.take(record)
        assert counted.counts == {"siren": 1}


def test_the_address_of_the_page_is_shown() -> None:
    address, state = "http://127.0.0.1:8480", console_state("street")
    view = ViewState(NOW, {"street": strip()}, page=address)
    assert address in display(state, view=view)[-1]
    lines = display(state, view=view._replace(is_help=True))
    assert line_with(lines, "web page", address)


def test_the_reason_why_there_is_no_page_stays_in_the_line_of_the_status() -> None:
    state = console_state("street")
    state.statistics = statistics("street")
    reason = "127.0.0.1:8480 cannot be listened at: Address already in use"
    view = ViewState(NOW, {"street": strip()}, page_fault=reason)
    line = display(state, 80, 24, view=view)[-2]
    assert "no web page: 127.0.0.1:8480 cannot be listened at: Address" in line
    assert line.rstrip().endswith("already in use")


def test_without_a_time_of_day_the_position_in_the_recording_is_shown() -> None:
    recording = console_state("street")
    recording.take(event(opened=None))
    assert line_with(display(recording), "0:00:13.4", "siren")


def test_levels_of_calibrated_and_other_sources_are_not_in_one_column() -> None:
    mixed = console_state("street", "yard")
    units = {"street": "dB(A)", "yard": "dBFS(A)"}
    mixed.renew(mixed.setup._replace(units=WeightedUnits(units)))
    for source in units:
        mixed.take(frame(source))
    mixed.take(event())
    lines = display(mixed)
    assert line_with(lines, " street ", "52.1 dB(A)")
    assert line_with(lines, " yard ", "52.1 dBFS(A)")
    assert line_with(lines, "latest events", "score     dBFS ")
    assert line_with(lines, "siren", "-21.0")


names = st.text(min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    sources=st.lists(names, min_size=1, max_size=20, unique=True),
    labels=st.lists(names, min_size=1, max_size=30, unique=True),
    listens=st.booleans(),
    is_help=st.booleans(),
)
def test_the_display_fills_every_terminal(
    width: int,
    height: int,
    sources: list[str],
    labels: list[str],
    listens: bool,
    is_help: bool,
) -> None:
    """Nothing wraps, nothing moves the cursor, whatever the names are."""
    crowd = ConsoleState(setup_of(sources, labels), OPENED)
    for source in sources:
        crowd.take(state(source, "listening" if listens else "waiting", source))
        if listens:
            score = ScoreFrame(
                source, 0, 1, (0.9,) * len(labels), ((0, 1),) * len(labels), -9, -3, 70
            )
            crowd.take(Timed(score, 0.0, 0.0, None, None))
        crowd.take(onset(source, labels[0]))
        crowd.take(event(source, labels[0], number=2))
        crowd.take(gap(source))
    crowd.report(statistics(*sources))
    strips = {name: strip() for name in sources}
    for paused in (None, NOW):
        view = ViewState(NOW, strips, paused=paused, has_keys=True, is_help=is_help)
        lines = display(crowd, width, height, view=view)
        assert len(lines) == height
        assert all(line.isprintable() for line in lines)
        assert {cell_len(line) for line in lines} == {width}


def test_an_ascii_terminal_gets_ascii() -> None:
    lines = display(busy_state("street", "yard"), glyphs=ASCII)
    assert all(line.isascii() for line in lines)
    assert sum("+*" in line or "##" in line for line in lines) > 3


def test_the_display_says_that_it_is_paused_and_which_keys_it_knows() -> None:
    view = ViewState(NOW, {}, paused=NOW, has_keys=True)
    footer = display(busy_state("street"), view=view)[-1]
    assert "q stop" in footer
    assert "p go on" in footer
    assert "paused" in footer
    without = display(busy_state("street"), view=ViewState(NOW, {}))[-1]
    assert without.split() == ["Ctrl-C", "stop"]


def test_facts_from_before_a_reload_come_with_the_statistics():
    """A console that is new has not seen the records that said so."""
    seen = console_state("street", "yard")
    raised = Trouble("street", "clipping", None, "")
    seen.report(replace(statistics("street", "yard"), troubles=(raised,)))
    assert seen.sources["yard"].state == "listening"
    assert seen.sources["street"].troubles == ["clipping"]
    seen.report(statistics("street", "yard"))
    assert seen.sources["street"].troubles == []


def healthy_state(*sources: str) -> ConsoleState:
    healthy = console_state(*sources)
    for source in sources:
        healthy.take(state(source))
        healthy.take(frame(source))
    healthy.report(statistics(*sources, listened=Listened(60.0, 1.0)))
    return healthy


def test_a_source_shows_its_trouble_in_red_until_it_is_cleared() -> None:
    shown = healthy_state("street", "yard")
    shown.take(trouble())
    lines = display(shown, 120)
    assert line_with(lines, "street", "clipping", "100 %")
    assert line_with(lines, "yard", "listening", "100 %")
    assert line_with(lines, "clipping: ")
    canvas = Canvas(120, 24, UNICODE, ColorSystem.TRUECOLOR)
    found = [
        segment.style
        for line in draw(shown, ViewState(NOW, {}), canvas)
        for segment in line
        if segment.text.startswith("clipping")
    ]
    assert found == [BAD, BAD]  # the state, and the history
    shown.take(trouble("cleared"))
    assert sum("listening" in line for line in display(shown)[:-2]) == 2
    assert line_with(display(shown), "clipping: cleared")


def test_an_older_trouble_is_shown_again_when_the_newer_one_is_cleared() -> None:
    shown = healthy_state("street")
    shown.take(trouble(kind="dc-offset"))
    shown.take(trouble(kind="clipping"))
    shown.take(trouble("cleared", kind="clipping"))
    assert line_with(display(shown), "street", "DC offset")


def test_trouble_of_all_sources_is_shown_with_each_of_them() -> None:
    shown = healthy_state("street", "yard")
    shown.take(trouble(kind="disk", source=EVERY_SOURCE))
    assert set(shown.sources) == {"street", "yard"}
    assert all(source.troubles for source in shown.sources.values())
    shown.take(trouble("cleared", kind="disk", source=EVERY_SOURCE))
    assert not any(source.troubles for source in shown.sources.values())


@pytest.mark.parametrize("kind", HEALTH_KINDS)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_kind_of_trouble_fits_into_its_line(kind: HealthKind, width: int) -> None:
    shown = healthy_state("street")
    shown.take(trouble(kind=kind))
    assert line_with(display(shown, width), "● street", f" {HEALTH_KINDS[kind]} ")


@pytest.mark.parametrize("size", SIZES)
def test_a_terminal_shows_the_styles_although_only_changes_are_written(
    size: tuple[int, int],
) -> None:
    canvas = Canvas(*size, UNICODE, ColorSystem.TRUECOLOR)
    view = ViewState(NOW, {"street": strip()}, has_keys=True)
    lines = draw(busy_state("street"), view, canvas)
    encodings = [encoded(line, canvas.colours) for line in lines]
    screen = Screen(*size)
    screen.feed("\r\n".join(encodings).encode())
    for line, row in zip(lines, range(size[1]), strict=True):
        cells = [style or PLAIN for text, style, _ in line for _ in text]
        shown = [screen.buffer[row][at] for at in range(size[0])]
        assert [it.bold for it in shown] == [bool(style.bold) for style in cells]
        for seen, style in zip(shown, cells, strict=True):
            assert (seen.fg == "default") == (style.color is None)
            assert (seen.bg == "default") == (style.bgcolor is None)
    assert sum(map(len, encodings)) < 25 * size[0] * size[1]
    assert not any("\x1b" in encoded(line, None) for line in lines)
