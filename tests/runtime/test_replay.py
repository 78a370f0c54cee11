"""Stored scores give the same events again, and others with other rules."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule, resolve_rules
from monitor.records import Event, Gap, Onset, ScoreFrame, Timed
from monitor.runtime.place_curves import count_events
from monitor.runtime.replay import Comparison, replay
from monitor.sinks.store.queries import open_to_read
from monitor.spec import ModelSpec
from tests.support.store import make_store, score_frames
from tests.support.timed import LABELS, OPENED, timed

GATE = -70.0
BRIDGED = 70


def rules(onset_threshold: float = 0.7) -> Mapping[str, LabelRule]:
    settings = LabelSettings(onset_threshold=onset_threshold, offset_threshold=0.3)
    detection = DetectionSettings(labels=dict.fromkeys(LABELS, settings))
    return resolve_rules(LABELS, detection, None, ModelSpec())


def street(count: int = 600, seed: int = 1) -> list[Timed]:
    """Frames in which each label comes and goes."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(0, 0.08, (count, len(LABELS))).cumsum(axis=0)
    scores = 0.5 + 0.5 * np.sin(2 * steps)
    frames = []
    for each, values in zip(score_frames(count), scores, strict=True):
        assert isinstance(each.record, ScoreFrame)
        record = replace(each.record, scores=tuple(values.tolist()))
        frames.append(replace(each, record=record))
    return frames


def listen(
    path: Path,
    items: Sequence[Timed],
    *,
    run: str = "session",
    stored: int | None = None,
) -> list[Timed]:
    """Detect as the monitor does, and store; return the detected records.

    `stored` is the number of the frames whose scores are stored; None: of all.
    """
    detector = Detector("street", LABELS, rules(), GATE, "urban", run)
    store = make_store(path, run=run)
    detected = []
    for number, item in enumerate(items):
        if isinstance(item.record, Gap):
            is_bridged = item.record.stop - item.record.start == BRIDGED
            records = [] if is_bridged else list(detector.gap(item.record))
        else:
            assert isinstance(item.record, ScoreFrame)
            records = list(detector.push(item.record))
        batch = [item, *(timed(record) for record in records)]
        detected += batch[1:]
        store.write(batch if stored is None or number < stored else batch[1:])
    last = [timed(record) for record in detector.finish("stopped")]
    store.write(last)
    store.close()
    return detected + last


def again(path: Path, onset_threshold: float = 0.7, **time_range: object) -> Comparison:
    since, until = time_range.get("since"), time_range.get("until")
    with open_to_read(path) as reader:
        return replay(
            reader,
            lambda *_: rules(onset_threshold),
            GATE,
            since,
            until,
        )


def gap_at(item: Timed) -> Timed:
    start = item.record.start + 10
    return timed(Gap("street", start, start + 200_000, "stalled"))


def overload(items: Sequence[Timed]) -> list[Timed]:
    """Leave out two windows of three, and report it as the worker does."""
    start, stop = items[0].record.stop, items[-1].record.stop
    return [*items[::3], timed(Gap("street", start, stop, "overload", stop - start))]


def losses(items: Sequence[Timed], lost: int | None) -> Timed:
    """Losses over which the windows went on: one, or several that are joined."""
    start, stop = items[0].record.stop, items[-1].record.stop
    stop = start + BRIDGED if lost is None else stop
    return timed(Gap("street", start, stop, "stalled", lost))


@pytest.mark.parametrize("trouble", ["none", "gap", "overload", "bridged"])
def test_the_same_rules_give_the_same_events(tmp_path: Path, trouble: str) -> None:
    path = tmp_path / "monitor.db"
    items = street()
    if trouble == "gap":
        items[300:320] = [gap_at(items[306])]
    if trouble == "overload":
        items[300:450] = overload(items[300:450])
    if trouble == "bridged":
        items[300:300] = [losses(items[290:320], None), losses(items[200:290], 70)]
    listen(path, items)
    found = again(path)
    assert len(found.stays) > 20
    assert (found.comes, found.goes) == ([], [])
    with open_to_read(path) as reader:
        stored = {each.record.id: each.record for each in reader.events()}
    for each in found.stays:
        record = each.record
        before = stored[record.id]
        assert (record.start, record.stop) == (before.start, before.stop)
        assert record.end_reason == before.end_reason


def quiet_street(count: int = 3000) -> list[Timed]:
    """Long quiet between sounds that last from one hop to some thirty."""
    generator = np.random.default_rng(5)
    frames = score_frames(count)
    scores = generator.uniform(0.0, 0.3, (count, len(LABELS)))
    levels = generator.uniform(-90, -20, count)
    for _ in range(count // 60):
        at, length = generator.integers(0, count - 40), generator.integers(1, 32)
        label = generator.integers(0, len(LABELS))
        scores[at : at + length, label] = generator.uniform(0.3, 1.0, length)
    for number, each in enumerate(frames):
        record = each.record
        assert isinstance(record, ScoreFrame)
        start = record.start + int(generator.integers(0, 100_000))
        spans = tuple((start, record.stop) for _ in LABELS)
        record = replace(
            record,
            scores=tuple(np.rint(scores[number] * 65_535) / 65_535),
            spans=spans,
            peak_level_dbfs=round(float(levels[number]), 2),
        )
        frames[number] = replace(each, record=record)
    return frames


QUIET_RULES = {
    "plain": {},
    "averaged": {"smoothing_hops": 5},
    "ahead of others": {"margin": 0.2},
    "long": {"min_duration_on_seconds": 6.0, "min_duration_off_seconds": 4.0},
}


def rules_with(onset_threshold: float, **more: object) -> Mapping[str, LabelRule]:
    settings = LabelSettings(onset_threshold=onset_threshold, offset_threshold=0.3)
    settings = settings.model_copy(update=more)
    detection = DetectionSettings(labels=dict.fromkeys(LABELS, settings))
    return resolve_rules(LABELS, detection, None, ModelSpec())


@pytest.mark.parametrize("name", QUIET_RULES)
def test_frames_that_are_skipped_change_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / "monitor.db"
    store = make_store(path)
    items = quiet_street()
    items[1500:1520] = [gap_at(items[1506])]
    store.write(items)
    store.close()
    chosen = rules_with(0.5, **QUIET_RULES[name])
    detector = Detector("street", LABELS, chosen, GATE, "urban", "session")
    expected: list[Onset | Event] = []
    for item in items:
        record = item.record
        if isinstance(record, Gap):
            expected += detector.gap(record)
        elif isinstance(record, ScoreFrame):
            expected += detector.push(record)
    expected += detector.finish("stopped")
    with open_to_read(path) as reader:
        found = replay(reader, lambda *_: chosen, GATE, None, None).comes
        curves = count_events(
            reader, lambda *_: {it: [chosen[it]] for it in chosen}, GATE, None, None
        )
    events = {each.id: each for each in expected if isinstance(each, Event)}
    assert len(events) > 10
    assert {each.record.id for each in found} == events.keys()
    for each in found:
        record = each.record
        assert isinstance(record, Event)
        before = events[record.id]
        assert (record.start, record.stop) == (before.start, before.stop)
        assert record.level_dbfs == pytest.approx(before.level_dbfs, abs=0.01)
        assert record.laeq_db == pytest.approx(before.laeq_db, abs=0.01)
        assert record.mean_score == pytest.approx(before.mean_score, abs=1e-4)
    counts = {label: curve.events[0] for label, curve in curves.items()}
    assert counts == {
        label: sum(each.label == label for each in events.values()) for label in LABELS
    }


def test_the_hours_of_a_curve_are_those_of_its_scores(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    listen(path, street())
    with open_to_read(path) as reader:
        both = [rules(0.97)["siren"], rules(0.45)["siren"]]
        curves = count_events(reader, lambda *_: {"siren": both}, GATE, None, None)
    assert curves.keys() == {"siren"}
    assert curves["siren"].seconds == pytest.approx(600 * 24_576 / 44_100)
    strict, lax = curves["siren"].events
    assert 0 < strict < lax


def test_higher_thresholds_let_events_go_and_lower_ones_come(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    listen(path, street())
    stricter, laxer = again(path, 0.97), again(path, 0.45)
    assert stricter.goes
    assert laxer.comes
    assert len(stricter.stays) < len(again(path).stays)


def test_an_event_whose_scores_are_not_stored_yet_does_not_go(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    late = [
        each
        for each in listen(path, street(), stored=540)
        if isinstance(each.record, Event) and each.start_utc
        if each.start_utc > street()[540].start_utc
    ]
    assert late, "no event began after the last stored score"
    found = again(path)
    assert (found.comes, found.goes) == ([], [])


def test_two_runs_of_the_monitor_are_detected_apart(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    listen(path, street(200), run="first")
    later = [
        replace(
            item,
            start_utc=item.start_utc + timedelta(hours=1),
            end_utc=item.end_utc + timedelta(hours=1),
        )
        for item in street(200, seed=2)
    ]
    store = make_store(path, run="second")
    store.write(later)
    store.close()
    found = again(path)
    assert found.goes == []
    assert found.comes, "no events were stored in the second run"
    assert all(
        each.start_utc is not None and each.start_utc >= OPENED + timedelta(hours=1)
        for each in found.comes
    )


def test_only_the_given_time_range_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    listen(path, street())
    since, until = OPENED + timedelta(seconds=100), OPENED + timedelta(seconds=200)
    found = again(path, since=since, until=until)
    assert (found.comes, found.goes) == ([], [])
    assert 0 < len(found.stays) < len(again(path).stays)


def test_without_scores_the_comparison_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    make_store(path).close()
    assert again(path) == Comparison([], [], [], None, 0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE scores SET data = x'00' WHERE id = 2",
        "UPDATE scores SET format = 99 WHERE id = 2",
        "UPDATE scores SET frames = frames + 1 WHERE id = 2",
        "UPDATE scores SET hop_samples = 0 WHERE id = 2",
        "UPDATE scores SET window_samples = 0 WHERE id = 2",
    ],
)
def test_a_damaged_row_of_scores_is_left_out_and_the_others_are_replayed(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "monitor.db"
    listen(path, street())
    whole = again(path)
    with closing(sqlite3.connect(path)) as database, database:
        (rows,) = database.execute("SELECT count(*) FROM scores").fetchone()
        database.execute(damage)
    rest = again(path)
    assert rows > 2
    assert 0 < rest.frames < whole.frames
    assert rest.stays
    assert any("left out" in record.getMessage() for record in caplog.records)


def test_scores_of_other_labels_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    listen(path, street())
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE sessions SET labels = '[\"another\"]'")
    assert again(path).since is None
