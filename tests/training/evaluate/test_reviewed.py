"""Verdicts of people about events change what counts as background."""

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from monitor.commands.app import run_command_line
from monitor.config.detection import DetectionSettings
from monitor.model.model_file import load_model
from monitor.records import Event, ScoreFrame, Timed
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.reviews import Verdict, write_verdict
from tests.support.store import make_store, score_frames
from tests.support.timed import LABELS, OPENED, SAMPLE_RATE, event
from training.evaluate.chosen import scoring_models
from training.evaluate.stored_scores import (
    ScoreQuery,
    StoredBackground,
    recorded_scores,
)

HOP = 24_576
FRAMES, APART, EVENTS = 6_000, 500, 11
TRUE = range(1, 7)
"""Events that are sirens, with a score of 0.95; the others have 0.8."""
SIREN, DOG = LABELS.index("siren"), LABELS.index("dog_bark")


def score_of(number: int) -> float:
    return 0.95 if number in TRUE else 0.8


@pytest.fixture(name="database", scope="module")
def _database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nearly an hour with eleven events of a siren, each of 20 hops."""
    path = tmp_path_factory.mktemp("store") / "monitor.db"
    store = make_store(path)
    frames = score_frames(FRAMES)
    for number in range(1, EVENTS + 1):
        for index in range(number * APART, number * APART + 20):
            frames[index] = raised(frames[index], SIREN, score_of(number))
            if number == 10:
                frames[index] = raised(frames[index], DOG, 0.6)
    for begin in range(0, FRAMES, 500):
        store.write(frames[begin : begin + 500])
    store.write([siren(number) for number in range(1, EVENTS + 1)])
    store.close()
    return path


def raised(item: Timed, label: int, score: float) -> Timed:
    assert isinstance(item.record, ScoreFrame)
    scores = list(item.record.scores)
    scores[label] = score
    return replace(item, record=replace(item.record, scores=tuple(scores)))


def siren(number: int) -> Timed:
    """The event of the windows that begin with its number."""
    start = (number * APART + 7) * HOP / SAMPLE_RATE
    return event(number=number, start_seconds=start, seconds=10.0)


@pytest.fixture(name="reviewed")
def _reviewed(database: Path, tmp_path: Path) -> Path:
    """The same, with a verdict about each event but the last."""
    copy = Path(shutil.copy(database, tmp_path))
    judge(copy, TRUE, "right")
    judge(copy, range(7, EVENTS), "wrong")
    return copy


def judge(
    path: Path, numbers: Sequence[int], verdict: Verdict, label: str | None = None
) -> None:
    ids = []
    for number in numbers:
        record = siren(number).record
        assert isinstance(record, Event)
        ids.append(record.id)
    now = OPENED + timedelta(days=1)
    with closing(Database(path).connect()) as connection, transaction(connection):
        write_verdict(connection, ids, verdict, label, now=now)


def background(
    path: Path, labels: Sequence[str] = LABELS, **times: Any
) -> StoredBackground:
    models = scoring_models(load_model(None), labels)
    return recorded_scores(
        ScoreQuery(path, **times), "urban", models, DetectionSettings()
    )


def test_a_confirmed_event_is_no_background_and_a_rejected_one_is(
    database: Path, reviewed: Path
) -> None:
    before, after = background(database), background(reviewed)
    assert before.segments[:, SIREN].max() == pytest.approx(0.95, abs=0.01)
    assert after.segments[:, SIREN].max() == pytest.approx(0.8, abs=0.01)
    others = np.delete(np.arange(len(LABELS)), SIREN)
    np.testing.assert_array_equal(after.segments[:, others], before.segments[:, others])
    assert after.hours == before.hours
    assert (after.label_hours[others] == after.hours).all()
    # A window that holds any of an event holds its sound.
    lost = 3600 * (after.hours - after.label_hours[SIREN])
    assert len(TRUE) * 10 < lost < len(TRUE) * (10 + 2 * 4.1)
    assert (before.unreviewed, after.unreviewed) == (EVENTS, 1)
    assert background(database, ["dog_bark"]).unreviewed == 0


def test_verdicts_are_counted_with_the_scores_of_their_events(reviewed: Path) -> None:
    found = background(reviewed).verdicts
    assert set(found) == {"siren"}
    assert (found["siren"].confirmed, found["siren"].rejected) == (6, 4)
    assert found["siren"].confirmed_scores == pytest.approx([0.95] * 6, abs=0.01)
    assert found["siren"].rejected_scores == pytest.approx([0.8] * 4, abs=0.01)


def test_another_label_rejects_one_and_confirms_the_other(
    database: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(database, tmp_path))
    judge(copy, [10], "label", "dog_bark")
    found = background(copy).verdicts
    assert (found["siren"].confirmed, found["siren"].rejected) == (0, 1)
    assert (found["dog_bark"].confirmed, found["dog_bark"].rejected) == (1, 0)
    assert found["dog_bark"].confirmed_scores.max() > 0.3
    judge(copy, range(5, 10), "label", "a label that the model has not")
    found = background(copy).verdicts
    assert found.keys() == {"siren", "dog_bark"}
    assert found["siren"].rejected == 6


def test_few_verdicts_change_nothing(database: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(database, tmp_path))
    judge(copy, [1, 2, 3, 4], "right")
    before, after = background(database), background(copy)
    assert not after.verdicts["siren"].is_used
    np.testing.assert_array_equal(after.segments, before.segments)
    assert (after.label_hours == after.hours).all()
    assert [len(each) for each in after.events(LABELS)] == [0] * len(LABELS)
    judge(copy, [5], "right")
    assert background(copy).verdicts["siren"].is_used


def test_verdicts_without_stored_scores_do_not_count(reviewed: Path) -> None:
    """The scores of the first five are in an excepted time, as if deleted."""
    stop = OPENED + timedelta(seconds=5.5 * APART * HOP / SAMPLE_RATE)
    found = background(reviewed, excepted=((OPENED, stop),)).verdicts["siren"]
    assert (found.confirmed, found.rejected) == (6, 4)
    assert len(found.confirmed_scores) == 1
    assert found.is_used


def calibrate(path: Path, *words: str) -> int:
    """With the database as that of a monitor."""
    config = path.parent / "config.yaml"
    settings = {
        "state_dir": str(path.parent),
        "store": {"path": path.name},
        "detection": {"labels": {"siren": {"onset_threshold": 0.7}}},
    }
    config.write_text(yaml.safe_dump(settings))
    # So many that an hour can show them.
    budget = ["--false-alarms-per-day", "150"]
    words = ("calibrate", "--store", *budget, "--config", str(config), *words)
    return run_command_line(words)


def test_verdicts_move_the_threshold_between_true_and_false_events(
    database: Path, reviewed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Path(shutil.copy(database, tmp_path / "without.db"))
    onsets, facts = [], {}
    for path in (one, reviewed):
        assert calibrate(path, "--label", "siren", "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        (label,) = facts["labels"]
        onsets.append(label["threshold"]["onset"])
    assert onsets[0] > onsets[1]
    assert facts["unreviewed"] == 1
    (effect,) = facts["verdicts"]
    assert effect["onset"] == onsets[1]
    assert effect["is_used"]
    assert (effect["confirmed"], effect["rejected"]) == (6, 4)
    assert 0.8 < onsets[1] < 0.95
    assert (effect["confirmed_missed_before"], effect["confirmed_missed"]) == (0, 0)
    assert (effect["rejected_reported_before"], effect["rejected_reported"]) == (4, 0)
    assert effect["onset_before"] == 0.7
    assert facts["events"]["siren"] == {"events": 6, "missed": 0, "missed_before": 0}


def test_what_went_in_is_said(
    reviewed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(reviewed, [EVENTS], "label", "dog_bark")
    assert calibrate(reviewed) == 0
    out = capsys.readouterr().out
    assert "verdicts of siren: 6 right, 5 wrong; of the right ones " in out
    assert "dog_bark: 1 right, 0 wrong; fewer than 5 with scores change nothing" in out
    assert "11 verdicts went in." in out


def test_one_label_leaves_the_thresholds_of_the_others(
    reviewed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    assert calibrate(reviewed, "--label", "siren", "--out", str(out)) == 0
    before, after = load_model(None).card.thresholds, load_model(out).card.thresholds
    changed = {label for label in before if after[label].onset != before[label].onset}
    assert changed == {"siren"}
    assert after.keys() == before.keys()
    text = capsys.readouterr().out
    assert "at most 150 false alarms a day" in text
    config = ["--config", str(reviewed.parent / "config.yaml")]
    one = ["calibrate", "--store", "--label", "siren", *config]
    assert run_command_line(one) == 0
    assert "at most 0.2 false alarms a day" in capsys.readouterr().out
    assert calibrate(reviewed, "--label", "tuba") == 2
    assert "--label: 'tuba' is not one of air_conditioner" in capsys.readouterr().err
