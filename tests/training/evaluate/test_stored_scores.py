"""Thresholds from what a running monitor has stored of its scores."""

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from numpy.typing import NDArray

from monitor.commands.app import run_command_line
from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.errors import DatasetError
from monitor.model.card import ModelCard
from monitor.model.classifier import Classifier
from monitor.model.models import as_models
from monitor.model.networks import build_network
from monitor.model.trained import TrainedModel, save_model, to_stored
from monitor.records import ScoreFrame, Timed
from monitor.spec import ModelSpec
from tests.support.daemon import START_SECONDS, RunningMonitor
from tests.support.models import seeded_model
from tests.support.recordings import LABELS, RATE, SMALL_SPEC
from tests.support.store import make_store, score_frames
from tests.support.timed import LABELS as URBAN
from tests.support.timed import OPENED
from training.evaluate.stored_scores import ScoreQuery, recorded_scores

HOP = 24_576 / 44_100
SECONDS = 24
PLAY = """
test -e "$1.played" || { touch "$1.played"; cat "$1"; }
exec sleep 600
"""


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night as a recording, a model, and the database of a run over it."""
    folder = tmp_path_factory.mktemp("record")
    torch.manual_seed(0)
    network = build_network("article", SMALL_SPEC, len(LABELS))
    network.normalise.mean.fill_(-60)
    network.normalise.deviation.fill_(20)
    card = ModelCard(
        name="small",
        preset="article",
        labels=LABELS,
        temperatures=dict.fromkeys(LABELS, 0.1),
    )
    save_model(folder / "small.safetensors", TrainedModel(network, SMALL_SPEC, card))
    r = np.random.default_rng(0)
    loud = np.repeat(r.uniform(0.001, 0.2, SECONDS), RATE)
    (folder / "nights").mkdir()
    night = folder / "nights" / "one.wav"
    soundfile.write(night, (loud * r.normal(0, 1, len(loud))).clip(-1, 1), RATE)
    # A command: only live sources have a time, and are stored.
    (folder / "play.sh").write_text(PLAY)
    settings = {
        "model": {"file": str(folder / "small.safetensors")},
        "detection": {"hop_frames": 16, "labels": {"buzz": {"smoothing_hops": 3}}},
        "state_dir": str(folder / "state"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    options = ["--config", str(folder / "config.yaml")]
    source = f"command:sh {folder / 'play.sh'} {night}"
    with RunningMonitor(folder, "--input", source, *options) as monitor:
        # So it is when the recording is over.
        monitor.wait_for_line("delivered nothing", 3 * START_SECONDS)
        monitor.process.send_signal(signal.SIGTERM)
        assert monitor.process.wait(START_SECONDS) == 0, monitor.log
    return folder


def calibrate(
    folder: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> dict[str, Any]:
    words = ("calibrate", "--false-alarms-per-day", "200", "--json", *words)
    options = ["--config", str(folder / "config.yaml")]
    assert run_command_line([*words, *options]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_stored_scores_give_the_thresholds_of_the_recording(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = calibrate(folder, capsys, "--store")
    again = calibrate(folder, capsys, "--background", str(folder / "nights"))
    assert stored["hours"] == pytest.approx(again["hours"])
    assert stored["hours"] == pytest.approx(SECONDS / 3600, rel=0.1)
    for one, other in zip(stored["labels"], again["labels"], strict=True):
        assert one["threshold"]["onset"] == pytest.approx(
            other["threshold"]["onset"], abs=0.002
        )
        assert one["rate_at_most"] >= 2.9 / stored["hours"]
    assert len({label["threshold"]["onset"] for label in stored["labels"]}) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of --background DIR and --store"),
        (["--store", "--background", "x"], "give one of --background DIR and --store"),
        (["--background", "x", "--since", "1h"], "need --store"),
        (["--store", "--except", "yesterday"], "is not of the form FROM/TO"),
        (["--store", "--until", "2020-01-01"], "holds no scores of the model 'small'"),
    ],
)
def test_contradicting_options_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    options = ["--config", str(folder / "config.yaml")]
    words = ["calibrate", "--false-alarms-per-day", "2", *words, *options]
    assert run_command_line(words) != 0
    assert said in capsys.readouterr().err


def urban(name: str = "urban") -> TrainedModel:
    model = seeded_model(labels=URBAN)
    card = model.card.model_copy(update={"name": name})
    return TrainedModel(model.network, ModelSpec(), card)


def recorded(
    query: ScoreQuery,
    model: TrainedModel | None = None,
    detection: DetectionSettings | None = None,
) -> tuple[NDArray[np.float32], float]:
    models = as_models(Classifier(to_stored(model or urban()), "cpu"))
    detection = detection or DetectionSettings()
    found = recorded_scores(query, models.name, models, detection)
    return found.segments, found.hours


def scored(items: list[Timed], label: str, score: float) -> list[Timed]:
    """The same frames, in which one label stands high."""
    frames = []
    for item in items:
        assert isinstance(item.record, ScoreFrame)
        scores = [0.02] * len(URBAN)
        scores[URBAN.index(label)] = score
        frames.append(replace(item, record=replace(item.record, scores=tuple(scores))))
    return frames


@pytest.fixture(name="database", scope="module")
def _database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nearly three hours, and a siren of 20 hops after one and a half."""
    path = tmp_path_factory.mktemp("store") / "monitor.db"
    store = make_store(path)
    frames = score_frames(18_000)
    frames[10_000:10_020] = scored(frames[10_000:10_020], "siren", 0.9)
    for begin in range(0, len(frames), 500):
        store.write(frames[begin : begin + 500])
    store.close()
    return path


def test_stored_scores_are_as_long_as_the_run(database: Path) -> None:
    segments, hours = recorded(ScoreQuery(database))
    assert hours == pytest.approx(18_000 * HOP / 3600)
    siren = segments[:, URBAN.index("siren")]
    # The siren lies in 20 hops, and a trial has 9.
    assert (siren > 0.5).sum() == 3
    assert np.delete(segments, URBAN.index("siren"), axis=1).max() < 0.03


def test_damaged_scores_are_left_out(database: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(database, tmp_path))
    with closing(sqlite3.connect(copy)) as damaged, damaged:
        damaged.execute("UPDATE scores SET data = x'00' WHERE id = 2")
    _, hours = recorded(ScoreQuery(copy))
    assert 0.9 < hours / (18_000 * HOP / 3600) < 1


def test_a_clock_that_was_set_back_parts_no_scores(
    database: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(database, tmp_path))
    with closing(sqlite3.connect(copy)) as moved, moved:
        moved.execute(
            "UPDATE scores SET start_ms = start_ms - 36000000, "
            "end_ms = end_ms - 36000000 WHERE id > 20"
        )
    found = recorded(ScoreQuery(copy))
    before = recorded(ScoreQuery(database))
    assert found[1] == before[1]
    np.testing.assert_array_equal(found[0], before[0])


def test_excepted_times_are_left_out(database: Path) -> None:
    first = OPENED + timedelta(seconds=10_000 * HOP)
    span = (first - timedelta(seconds=5), first + timedelta(seconds=20))
    query = ScoreQuery(database, excepted=(span,))
    segments, hours = recorded(query)
    assert segments.max() < 0.03
    lost = 18_000 * HOP / 3600 - hours
    assert 25 / 3600 < lost < 50 / 3600, "and no more than they touch"


def test_a_time_range_can_be_chosen(database: Path) -> None:
    since = OPENED + timedelta(hours=1)
    query = ScoreQuery(database, since, since + timedelta(minutes=30))
    _, hours = recorded(query)
    assert hours == pytest.approx(0.5, abs=0.005)


def test_scores_are_averaged_as_the_configuration_says(database: Path) -> None:
    """A siren of 20 hops is half as high in the mean of 40."""
    rule = LabelSettings(smoothing_hops=40)
    detection = DetectionSettings(labels={"siren": rule})
    segments, _ = recorded(ScoreQuery(database), detection=detection)
    siren = segments[:, URBAN.index("siren")]
    assert siren.max() == pytest.approx(0.5 * (0.9 + 0.02), abs=0.01)


def test_windows_below_the_level_gate_count_as_quiet(database: Path) -> None:
    loud = DetectionSettings(level_gate_dbfs=-20.0)
    segments, hours = recorded(ScoreQuery(database), detection=loud)
    assert segments.max() == 0
    assert hours == pytest.approx(18_000 * HOP / 3600)


@pytest.mark.parametrize(
    ("model", "detection"),
    [
        (urban("another"), DetectionSettings()),
        (urban(), DetectionSettings(hop_frames=96)),
    ],
    ids=["another model", "another hop"],
)
def test_scores_of_another_model_or_hop_are_not_used(
    database: Path, model: TrainedModel, detection: DetectionSettings
) -> None:
    with pytest.raises(DatasetError, match="holds no scores of the model"):
        recorded(ScoreQuery(database), model, detection)
