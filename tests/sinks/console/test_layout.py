import io
from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from monitor.records import EVERY_SOURCE, HealthKind, ScoreFrame, Timed
from monitor.sinks.console.layout import (
    ASCII,
    BAD,
    PLAIN,
    UNICODE,
    Bar,
    Canvas,
    Glyphs,
    draw,
)
from monitor.sinks.console.state import ConsoleState
from monitor.statistics import Listened, Trouble
from monitor.text import HEALTH_KINDS
from tests.support.health import trouble
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


def console_state(*sources: str) -> ConsoleState:
    return ConsoleState(sources, LABELS, SAMPLE_RATE, {"siren": 0.7})


def rendered(part: RenderableType, width: int) -> list[str]:
    """The lines that a terminal of this width shows."""
    console = Console(file=io.StringIO(), width=width)
    lines = console.render_lines(part, pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def display(
    state: ConsoleState,
    width: int = 80,
    height: int = 21,
    title: str = "urban",
    glyphs: Glyphs = UNICODE,
) -> list[str]:
    return rendered(draw(state, title, Canvas(width, height, glyphs)), width)


def line_with(lines: list[str], *words: str) -> str:
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


def busy_state(*sources: str) -> ConsoleState:
    """Every source listens, has an ongoing siren, and has lost audio."""
    busy = console_state(*sources)
    for number, source in enumerate(sources):
        busy.take(state(source))
        scores = {"siren": 0.93, "car_horn": 0.31}
        busy.take(frame(source, 15.4, scores, ongoing=["siren"]))
        busy.take(onset(source, number=number))
        busy.take(gap(source))
    listened = Listened(62.3, 0.963)
    busy.report(statistics(*sources, lost_seconds=2.3, gaps=1, listened=listened))
    return busy


def test_one_source_is_shown_completely_on_a_small_terminal() -> None:
    lines = display(busy_state("street"))
    source = line_with(lines, "street", "listening")
    for fact in ("-32.4", "52.1", "96.30 %", "2.3 s"):
        assert fact in source
    assert "latency p50 0.12 p95 0.18 s  real-time factor 0.021" in lines[0]
    for label in LABELS:
        assert any(line.startswith(f" {label} ") for line in lines)
    assert line_with(lines, " siren ", "━").rstrip().endswith("0.93 ●")
    assert line_with(lines, " car_horn ", "━").rstrip().endswith("0.31")
    assert line_with(lines, "lost audio", "2.3 s the source was gone")
    # Only the siren has a threshold, which its bar has passed.
    assert [line.split()[0] for line in lines[5:] if "┿" in line or "┼" in line] == [
        "siren"
    ]


def test_a_label_is_marked_while_it_is_ongoing() -> None:
    one = console_state("street")
    for record, words in (
        (frame(scores={"siren": 0.93}, ongoing=["siren"]), "0.93 ●"),
        (event(), "0.93"),
        (frame(scores={"siren": 0.91}, ongoing=["siren"]), "0.91 ●"),
        (frame(scores={"siren": 0.90}), "0.90"),
    ):
        one.take(record)
        assert line_with(display(one), " siren ", "━").rstrip().endswith(words)


def test_several_sources_stand_side_by_side() -> None:
    sources = ("street", "yard", "roof", "gate")
    lines = display(busy_state(*sources))
    for source in sources:
        assert line_with(lines, f"● {source} ", "listening")
    assert line_with(lines, " siren ", "━").count("0.93 ●") == 4
    assert len([line for line in lines if line.strip()]) == 21


def test_many_sources_get_a_line_each_with_their_highest_scores() -> None:
    sources = [f"s{number}" for number in range(12)]
    lines = display(busy_state(*sources), width=120, height=45)
    assert len([line for line in lines if "car_horn" in line and "siren" in line]) == 12


def test_of_many_sources_those_with_an_ongoing_event_come_first() -> None:
    crowd = console_state(*(f"s{number}" for number in range(30)))
    for number in range(30):
        ongoing = ["siren"] if number == 29 else []
        crowd.take(frame(f"s{number}", scores={"siren": 0.9}, ongoing=ongoing))
    assert line_with(display(crowd), " s29 ", "siren", "━")


def test_sources_that_do_not_fit_are_counted() -> None:
    crowd = busy_state(*(f"s{number}" for number in range(30)))
    crowd.take(state("s29", "waiting"))
    assert line_with(display(crowd), "and 22 more: 21 listening, 1 waiting")


def test_a_source_that_does_not_listen_shows_the_reason() -> None:
    silent = busy_state("street")
    silent.take(state("street", "waiting", "no microphone 'default'"))
    source = line_with(display(silent), "street", "waiting")
    assert "no microphone 'default'" in source
    assert "dBFS" not in source
    assert not any("0.93 ●" in line and "━" in line for line in display(silent))


def test_a_late_worker_is_shown() -> None:
    late = busy_state("street")
    report = statistics("street")
    assert late.sources["street"].statistics is not None
    behind = report.sources[0].__class__(
        "street", "listening", 10**6, 0, 0, 5 * SAMPLE_RATE
    )
    late.report(report.__class__((behind,), 0.1, 0.2, 1.1))
    assert line_with(display(late), "street", "late 5.0 s")


def test_the_duration_of_an_onset_grows_until_its_event_replaces_it() -> None:
    one = console_state("street")
    one.take(onset())
    for seconds, words in ((15.4, "2.0 s"), (20.0, "6.6 s")):
        one.take(frame("street", seconds))
        assert words in line_with(display(one), "dBFS ●")
    one.take(event())
    assert not any("●" in line for line in display(one))
    assert "6.7 s" in line_with(display(one), "siren", "-21.0 dBFS")


def test_the_newest_record_is_first_and_the_oldest_are_left_out() -> None:
    eventful = console_state("street")
    for number in range(40):
        eventful.take(event(start_seconds=60.0 * number, seconds=1, number=number))
    times = [
        line.split()[1] for line in display(eventful, height=60) if "-21.0 dBFS" in line
    ]
    local = OPENED.replace(tzinfo=UTC).astimezone()
    assert len(times) == 10
    assert times == sorted(times, reverse=True)
    assert times[0].endswith(f"{(local.minute + 39) % 60:02d}:00")


def test_without_a_time_of_day_the_position_in_the_recording_is_shown() -> None:
    recording = console_state("street")
    recording.take(event(opened=None))
    assert line_with(display(recording), "0:00:13.4", "siren")


def test_labels_that_do_not_fit_are_those_with_low_scores() -> None:
    lines = display(busy_state("street"), height=10)
    assert line_with(lines, " siren ", "━", "0.93")
    assert line_with(lines, " car_horn ", "━", "0.31")
    assert line_with(lines, "highest")
    assert not any("street_music" in line for line in lines)


names = st.text(min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(70, 200),
    height=st.integers(5, 60),
    sources=st.lists(names, min_size=1, max_size=20, unique=True),
    labels=st.lists(names, min_size=1, max_size=30, unique=True),
    listens=st.booleans(),
)
def test_the_display_fits_every_terminal(
    width: int, height: int, sources: list[str], labels: list[str], listens: bool
) -> None:
    """Nothing wraps, nothing moves the cursor, whatever the names are."""
    crowd = ConsoleState(sources, labels, SAMPLE_RATE, dict.fromkeys(labels, 0.5))
    for source in sources:
        crowd.take(state(source, "listening" if listens else "waiting", source))
        if listens:
            score = ScoreFrame(
                source, 0, 1, (0.5,) * len(labels), ((0, 1),) * len(labels), -9, -3, 70
            )
            crowd.take(Timed(score, 0.0, 0.0, None, None))
        crowd.take(onset(source, labels[0]))
        crowd.take(gap(source))
    crowd.report(statistics(*sources))
    lines = display(crowd, width, height, "title")
    assert len(lines) <= height
    assert all(line.isprintable() for line in lines)
    assert all(cell_len(line) < width for line in lines)


def test_a_terminal_of_any_size_shows_something() -> None:
    crowd = busy_state(*LABELS)
    for width in range(2, 70):
        for height in (1, 2, 5):
            assert display(crowd, width, height)


@pytest.mark.parametrize(
    ("share", "mark", "drawn"),
    [
        (0.0, None, "──────────"),
        (0.04, None, "╾─────────"),
        (0.5, None, "━━━━━─────"),
        (0.55, 0.8, "━━━━━╾──┼─"),
        (0.9, 0.8, "━━━━━━━━┿─"),
        (1.7, 1.0, "━━━━━━━━━┿"),
        (-0.3, 0.0, "┼─────────"),
    ],
)
def test_a_bar_shows_its_share_and_its_mark(
    share: float, mark: float | None, drawn: str
) -> None:
    bar = Bar(share, mark, UNICODE, PLAIN, text=" 0.93", name="犬 ")
    assert rendered(bar, 18) == [f"犬 {drawn} 0.93"]


def test_an_ascii_terminal_gets_ascii() -> None:
    lines = display(busy_state("street", "yard"), glyphs=ASCII)
    assert all(line.isascii() for line in lines)


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
    street, yard = [line for line in display(shown) if "100 %" in line]
    assert "clipping" in street
    assert "listening" in yard
    assert line_with(display(shown), "clipping", "turn the gain down")
    console = Console(file=io.StringIO(), width=90)
    found = [
        segment.style
        for line in console.render_lines(draw(shown, "", Canvas(90, 24, UNICODE)))
        for segment in line
        if segment.text.strip() == "clipping"
    ]
    assert found == [BAD, BAD]  # the state, and the history
    shown.take(trouble("cleared"))
    assert sum("listening" in line for line in display(shown)) == 2
    assert line_with(display(shown), "clipping", "cleared")


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
def test_every_kind_of_trouble_fits_into_its_column(
    kind: HealthKind, width: int
) -> None:
    shown = healthy_state("street")
    shown.take(trouble(kind=kind))
    assert line_with(display(shown, width), "street", f" {HEALTH_KINDS[kind]} ", "52.1")
