from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.segment import Segment

from monitor.records import ScoreFrame, Timed
from monitor.sinks.console.layout import (
    ASCII,
    UNICODE,
    Canvas,
    bar,
    cell,
    draw,
    listened,
)
from monitor.sinks.console.state import Board
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


def board(*sources: str) -> Board:
    return Board(sources, LABELS, SAMPLE_RATE, {"siren": 0.7})


def picture(
    board: Board, width: int = 80, height: int = 21, title: str = "urban"
) -> list[str]:
    lines = draw(board, title, Canvas(width, height, UNICODE))
    return ["".join(segment.text for segment in line) for line in lines]


def line_with(lines: list[str], *words: str) -> str:
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


def busy_board(*sources: str) -> Board:
    """Every source is heard, has a siren going on, and has lost something."""
    busy = board(*sources)
    for number, source in enumerate(sources):
        busy.take(state(source))
        busy.take(frame(source, 15.4, {"siren": 0.93, "car_horn": 0.31}))
        busy.take(onset(source, number=number))
        busy.take(gap(source))
    busy.report(statistics(*sources, lost_seconds=2.3, gaps=1))
    return busy


def test_one_source_is_seen_whole_on_a_small_terminal() -> None:
    lines = picture(busy_board("street"))
    source = line_with(lines, "street", "listening")
    for fact in ("-32.4", "52.1", "96.30 %", "2.3 s"):
        assert fact in source
    assert "latency p50 0.12 p95 0.18 s  real-time factor 0.021" in lines[0]
    for label in LABELS:
        assert any(line.startswith(f" {label} ") for line in lines)
    assert line_with(lines, " siren ", "━").rstrip().endswith("0.93 ●")
    assert line_with(lines, " car_horn ", "━").rstrip().endswith("0.31")
    assert line_with(lines, "lost audio", "unplugged")


def test_several_sources_stand_side_by_side() -> None:
    sources = ("street", "yard", "roof", "gate")
    lines = picture(busy_board(*sources))
    for source in sources:
        assert line_with(lines, f"● {source} ", "listening")
    assert line_with(lines, " siren ", "━").count("0.93 ●") == 4
    assert len([line for line in lines if line.strip()]) == 21


def test_many_sources_get_a_line_each_with_their_highest_scores() -> None:
    sources = [f"s{number}" for number in range(12)]
    lines = picture(busy_board(*sources), width=120, height=45)
    assert len([line for line in lines if "car_horn" in line and "siren" in line]) == 12


def test_sources_that_do_not_fit_are_counted() -> None:
    crowd = busy_board(*(f"s{number}" for number in range(30)))
    crowd.take(state("s29", "waiting"))
    assert line_with(picture(crowd), "and 22 more: 21 listening, 1 waiting")


def test_a_source_that_is_not_heard_says_why() -> None:
    silent = busy_board("street")
    silent.take(state("street", "waiting", "no microphone 'default'"))
    source = line_with(picture(silent), "street", "waiting")
    assert "no microphone 'default'" in source
    assert "dBFS" not in source
    assert not any("0.93 ●" in line and "━" in line for line in picture(silent))


def test_a_worker_that_is_late_is_said() -> None:
    late = busy_board("street")
    report = statistics("street")
    assert late.sources["street"].statistics is not None
    behind = report.sources[0].__class__(
        "street", "listening", 10**6, 0, 0, 5 * SAMPLE_RATE
    )
    late.report(report.__class__((behind,), 0.1, 0.2, 1.1))
    assert line_with(picture(late), "street", "late 5.0 s")


def test_an_onset_counts_on_until_its_event_takes_its_place() -> None:
    one = board("street")
    one.take(onset())
    for seconds, words in ((15.4, "2.0 s"), (20.0, "6.6 s")):
        one.take(frame("street", seconds))
        assert words in line_with(picture(one), "dBFS ●")
    one.take(event())
    assert not any("●" in line for line in picture(one))
    assert "6.7 s" in line_with(picture(one), "siren", "-21.0 dBFS")


def test_the_latest_happening_stands_first_and_the_oldest_give_way() -> None:
    eventful = board("street")
    for number in range(40):
        eventful.take(event(start_seconds=60.0 * number, seconds=1, number=number))
    times = [
        line.split()[1] for line in picture(eventful, height=60) if "-21.0 dBFS" in line
    ]
    local = OPENED.replace(tzinfo=UTC).astimezone()
    assert len(times) == 10
    assert times == sorted(times, reverse=True)
    assert times[0].endswith(f"{(local.minute + 39) % 60:02d}:00")


def test_where_time_is_unknown_the_place_in_the_recording_stands() -> None:
    recording = board("street")
    recording.take(event(opened=None))
    assert line_with(picture(recording), "0:00:13.4", "siren")


def test_labels_that_do_not_fit_are_those_with_low_scores() -> None:
    lines = picture(busy_board("street"), height=10)
    assert line_with(lines, " siren ", "━", "0.93")
    assert line_with(lines, " car_horn ", "━", "0.31")
    assert line_with(lines, "highest")
    assert not any("street_music" in line for line in lines)


names = st.text(min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    sources=st.lists(names, min_size=1, max_size=20, unique=True),
    labels=st.lists(names, min_size=1, max_size=30, unique=True),
    hears=st.booleans(),
)
def test_the_picture_fits_every_terminal(
    width: int, height: int, sources: list[str], labels: list[str], hears: bool
) -> None:
    """Nothing wraps, nothing moves the cursor, whatever the names are."""
    crowd = Board(sources, labels, SAMPLE_RATE, dict.fromkeys(labels, 0.5))
    for source in sources:
        crowd.take(state(source, "listening" if hears else "waiting", source))
        if hears:
            score = ScoreFrame(
                source, 0, 1, (0.5,) * len(labels), ((0, 1),) * len(labels), -9, -3, 70
            )
            crowd.take(Timed(score, 0.0, 0.0, None, None))
        crowd.take(onset(source, labels[0]))
        crowd.take(gap(source))
    crowd.report(statistics(*sources))
    lines = draw(crowd, "title", Canvas(width, height, UNICODE))
    assert len(lines) <= height
    for line in lines:
        assert Segment.get_line_length(line) < width
        assert all(segment.text.isprintable() for segment in line)


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
    zones = ((0.5, cell("", 0).style), (1.0, cell("", 0).style))
    line = bar(share, 10, UNICODE, zones, mark)  # type: ignore[arg-type]
    assert "".join(segment.text for segment in line) == drawn


def test_an_ascii_terminal_gets_ascii() -> None:
    lines = draw(busy_board("street", "yard"), "urban", Canvas(80, 21, ASCII))
    assert all(segment.text.isascii() for line in lines for segment in line)


@pytest.mark.parametrize(
    ("captured", "lost", "words"),
    [
        (0, 0, "-"),
        (10, 0, "100 %"),
        (10**9, 1, "99.99 %"),
        (1, 1, "50.00 %"),
        (0, 5, "0.00 %"),
    ],
)
def test_nothing_lost_is_never_said_wrongly(
    captured: int, lost: int, words: str
) -> None:
    assert listened(captured, lost) == words


def test_other_sources_and_labels_are_shown_after_a_reload():
    seen = board("street", "yard")
    seen.take(frame("street", scores={"siren": 0.9}))
    seen.take(onset("street"))
    seen.take(frame("yard"))
    seen.change(["street", "gate"], ["bell", "whistle"], SAMPLE_RATE, {})
    lines = picture(seen)
    assert any("gate" in line for line in lines)
    assert not any("yard" in line for line in lines)
    assert any("bell" in line for line in lines)
    assert seen.sources["street"].going_on
    # What was scored for other labels is not shown for these.
    assert seen.sources["street"].frame is None
    seen.take(frame("yard"))
    seen.report(statistics())
    assert set(seen.sources) == {"street", "gate"}
