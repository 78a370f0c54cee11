"""The choice of what is shown, and what is said at the end."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.outputs import StoreSettings
from monitor.runtime.screen import DetectedEvents, can_show, count_day
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.store import session
from tests.support.timed import event, state


@pytest.mark.parametrize(
    ("environ", "is_live"),
    [
        ({}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "unknown"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_dumb_terminals_and_no_color_get_lines(
    environ: Mapping[str, str], is_live: bool
) -> None:
    assert can_show(environ) == is_live


def detected(*inputs: str) -> DetectedEvents:
    sources = tuple(
        SourceSettings(name=f"s{number}", input=spec)
        for number, spec in enumerate(inputs)
    )
    built = DetectedEvents(FakeClock())
    shown = SimpleNamespace(config=Config(sources=sources), database=Path("monitor.db"))
    built.shown = shown
    return built


def test_the_demo_ends_with_its_events_and_what_to_do_next() -> None:
    demo = detected("demo:")
    demo.write([event("s0"), event("s0", "dog_bark"), state("s0", "ended")])
    lines = list(demo.sentences())
    assert lines[0] == "The demo is over: 2 events detected."
    assert lines[2:4] == [
        "  0:00:13.4  siren       6.7 s  score 0.93",
        "  0:00:13.4  dog_bark    6.7 s  score 0.93",
    ]
    assert any("sound-monitor run" in line for line in lines)


def test_many_events_of_a_recording_are_counted() -> None:
    recording = detected("file:a.wav")
    recording.write([event("s0", number=number) for number in range(50)])
    recording.write([state("s0", "ended")])
    lines = list(recording.sentences())
    assert lines[0] == "The recording is over: 50 events detected."
    assert "  and 30 more" in lines


def test_the_counts_of_the_labels_add_up_to_all_events() -> None:
    live = detected("mic:default")
    for number in range(7):
        live.write([event("s0", f"label{number}")] * (9 - number))
    (first, *_) = live.sentences()
    assert "42 events detected (label0 9, " in first
    assert first.endswith(", label4 5, and 7 more).")


def test_what_was_stopped_is_not_over() -> None:
    (first, *_) = detected("demo:").sentences()
    assert first == "Stopped after 0.0 s: no events detected."
    live = detected("mic:default")
    live.write([event("s0"), event("s0"), event("s0", "dog_bark")])
    assert list(live.sentences()) == [
        "Stopped after 0.0 s: 3 events detected (siren 2, dog_bark 1).",
        "'sound-monitor events --since 1h' lists them.",
    ]


def test_the_database_counts_what_began_today(tmp_path: Path) -> None:
    clock = FakeClock()
    noon = clock.utc().astimezone().replace(hour=12)
    store = Store(tmp_path / "monitor.db", StoreSettings(), session(), clock)
    hours = (-30, -13, -11, -2, -1, 1)
    store.write(
        [
            event(number=number, opened=noon + timedelta(hours=hour))
            for number, hour in enumerate(hours)
        ]
    )
    store.close()
    assert count_day(tmp_path / "monitor.db", noon) == {"siren": 3}
    assert count_day(tmp_path / "none.db", noon) is None
    assert count_day(None, noon) is None
