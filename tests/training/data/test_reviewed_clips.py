"""`train --from-reviews`: reviewed clips become a data set that leaks no day."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from monitor.commands.app import run_command_line
from monitor.records import Event, Timed
from monitor.sinks.clip_files import Clip, prepare, save
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.reviews import Verdict, write_verdict
from tests.support.store import make_store
from tests.support.timed import event
from training.data.discovery import read_manifest, read_negatives
from training.data.splits import assign_folds

FIRST = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
RATE = 8_000


class Place:
    """A monitor that has stored events and clips, and a person who reviews them."""

    def __init__(self, folder: Path, heard: int = 0) -> None:
        self.folder = folder
        self.database = folder / "monitor.db"
        self.clips = folder / "clips"
        self.config = folder / "config.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {"state_dir": str(folder), "store": {"path": self.database.name}}
            )
        )
        self.heard = heard
        self._events: list[Timed] = []
        self._verdicts: list[tuple[str, Verdict, str | None]] = []
        prepare(self.clips)

    def hear(
        self,
        at: datetime,
        label: str,
        verdict: Verdict | None,
        true_label: str | None = None,
        *,
        source: str = "street",
        clip: bool = True,
    ) -> str:
        """Store an event of five seconds with a clip, and its verdict."""
        self.heard += 1
        timed = event(source, label, 0, 5, self.heard, opened=at)
        record = timed.record
        assert isinstance(record, Event)
        self._events.append(timed)
        if verdict is not None:
            self._verdicts.append((record.id, verdict, true_label))
        if clip:
            noise = np.random.default_rng(self.heard).normal(0, 0.1, (1, 2 * RATE))
            begins = at - timedelta(seconds=2)
            sound = Clip(
                record.id,
                source,
                label,
                begins,
                0.0,
                RATE,
                noise.astype(np.float32),
                0,
                2 * RATE,
                "",
            )
            assert save(self.clips, sound) is not None
        return record.id

    def flush(self) -> None:
        """Write what was heard into the database."""
        store = make_store(self.database, run=f"run{self.heard}")
        store.write(self._events)
        store.close()
        with (
            closing(Database(self.database).connect()) as connection,
            transaction(connection),
        ):
            for id_, verdict, label in self._verdicts:
                write_verdict(connection, [id_], verdict, label, now=FIRST)
        self._events, self._verdicts = [], []

    def write(self, *words: str, to: str = "reviewed") -> int:
        self.flush()
        options = ["--config", str(self.config), *words]
        folder = str(self.folder / to)
        return run_command_line(["train", folder, "--from-reviews", *options])

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "reviewed" / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def days(count: int) -> Iterator[datetime]:
    return (FIRST + timedelta(days=day) for day in range(count))


@pytest.fixture(name="busy")
def _busy(six_days: Place, tmp_path: Path) -> Place:
    """A copy of six days, to which more can be added."""
    shutil.copytree(six_days.folder, tmp_path / "place")
    return Place(tmp_path / "place", heard=six_days.heard)


@pytest.fixture(name="six_days", scope="module")
def _six_days(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Six days with a siren, a dog, a wrong siren and one without a verdict each."""
    place = Place(tmp_path_factory.mktemp("place"))
    for day in days(6):
        place.hear(day, "siren", "right")
        place.hear(day + timedelta(minutes=3), "siren", "right")
        place.hear(day + timedelta(hours=2), "siren", "label", "dog/bark")
        place.hear(day + timedelta(hours=4), "siren", "wrong")
        place.hear(day + timedelta(hours=6), "siren", None)
    place.flush()
    return place


def test_reviewed_clips_are_a_data_set_of_their_labels(
    busy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert busy.write() == 0
    out = capsys.readouterr().out
    folder = busy.folder / "reviewed"
    assert out.splitlines() == [
        f"{folder}: 18 clips of 2 labels (dog/bark 6, siren 12) and 6 negatives, of 18 "
        "incidents on 6 days",
        "train with",
        f"  sound-monitor train {folder}/clips.csv --negatives {folder}/negatives",
    ]
    manifest = read_manifest(folder / "clips.csv")
    assert manifest.labels == ("dog/bark", "siren")
    assert not manifest.left_out
    assert manifest.folds == (1, 2, 3, 4, 5)
    assert assign_folds(manifest, "fold", 5, 0) == manifest
    assert sorted(each.name for each in (folder / "clips").iterdir()) == [
        "dog-bark",
        "siren",
    ]
    assert folder.stat().st_mode & 0o77 == 0


def test_no_day_is_in_two_folds_and_no_incident_in_two_groups(busy: Place) -> None:
    assert busy.write() == 0
    folder = busy.folder / "reviewed"
    negatives = read_negatives([folder / "negatives"])
    assert len(negatives.clips) == 6
    assert negatives.has_folds
    clips = (*read_manifest(folder / "clips.csv").clips, *negatives.clips)
    folds: dict[str, set[int]] = {}
    for clip in clips:
        folds.setdefault(clip.group[:8], set()).add(clip.fold)
    assert len(folds) == 6
    assert all(len(own) == 1 for own in folds.values())
    rows = busy.table("clips.csv")
    siren = [row["group"] for row in rows if row["label"] == "siren"]
    assert len(siren) == 2 * len(set(siren)), "three minutes apart is one incident"


def test_an_incident_over_midnight_is_of_one_day(place: Place) -> None:
    midnight = datetime(2026, 11, 3).astimezone()
    for minutes in (-4, 4, 12):
        place.hear(midnight + timedelta(minutes=minutes), "siren", "right")
    place.hear(midnight + timedelta(hours=9), "siren", "right")
    assert place.write() == 0
    rows = place.table("reviews.csv")
    assert [row["day"] for row in rows] == [*["20261102"] * 3, "20261103"]
    assert [row["fold"] for row in rows] == [*["1"] * 3, "2"]


def test_what_is_left_out_is_said_and_counted(
    busy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = busy.hear(FIRST + timedelta(hours=8), "siren", "right", clip=False)
    # A dog that may be right, or is, beside a wrong siren.
    for hours, verdict in ((10, None), (12, "right")):
        at = FIRST + timedelta(hours=hours)
        busy.hear(at, "siren", "wrong")
        busy.hear(at + timedelta(seconds=7), "dog/bark", verdict)
    elsewhere = FIRST + timedelta(hours=14)
    kept = busy.hear(elsewhere, "siren", "wrong")
    busy.hear(elsewhere, "dog/bark", "right", source="yard")
    assert busy.write("--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["left_out"] == {
        "no clip is kept": 1,
        "wrong, but beside an event that may be right": 2,
    }
    assert facts["labels"] == {"dog/bark": 8, "siren": 12}
    assert facts["negatives"] == 7
    rows = {row["event"]: row for row in busy.table("reviews.csv")}
    assert rows[missing]["left_out"] == "no clip is kept"
    assert rows[kept]["path"].startswith("negatives/")
    assert len(rows) == 18 + 6 + 6


def test_one_day_has_no_folds(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for minutes in (0, 30, 60):
        place.hear(FIRST + timedelta(minutes=minutes), "siren", "right")
    place.hear(FIRST + timedelta(minutes=90), "siren", "wrong")
    assert place.write() == 0
    assert "All are of one day, and there are no folds" in capsys.readouterr().out
    manifest = read_manifest(place.folder / "reviewed" / "clips.csv")
    assert not manifest.has_folds
    assert len({clip.group for clip in manifest.clips}) == 3
    negatives = read_negatives([place.folder / "reviewed" / "negatives"])
    assert not negatives.has_folds


def test_a_time_range_can_be_chosen(busy: Place) -> None:
    until = (FIRST + timedelta(days=2, hours=-1)).isoformat()
    assert busy.write("--until", until) == 0
    assert len(busy.table("reviews.csv")) == 8


def test_what_cannot_be_is_one_sentence(
    busy: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert busy.write(to="clips") == 2
    assert "there is something already; name a new folder" in capsys.readouterr().err
    assert busy.write("--since", "1s") == 1
    assert "no reviewed event has a clip" in capsys.readouterr().err
    assert run_command_line(["train", str(tmp_path), "--since", "1d"]) == 2
    assert "need --from-reviews" in capsys.readouterr().err


def test_options_of_a_training_are_refused_where_none_takes_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(tmp_path / "x"), "--from-reviews", "--epochs", "3"]
    assert run_command_line(words) == 2
    assert "takes no --epochs" in capsys.readouterr().err
    (empty := tmp_path / "empty").mkdir()
    config = empty / "config.yaml"
    config.write_text(yaml.safe_dump({"state_dir": str(empty)}))
    words = ["train", str(empty / "x"), "--from-reviews", "--config", str(config)]
    assert run_command_line(words) == 1
    assert "there is no database" in capsys.readouterr().err


def test_a_device_without_torch_writes_the_data_set() -> None:
    code = (
        "import sys, training.data.reviewed_clips\n"
        "print({'torch', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


def test_a_table_to_look_at_has_no_formula_and_the_one_to_train_on_such_no_label(
    place: Place,
) -> None:
    place.hear(FIRST, "siren", "right", source="@yard")
    place.hear(FIRST + timedelta(days=1), "siren", "label", "=1+1")
    assert place.write() == 0
    assert [row["label"] for row in place.table("clips.csv")] == ["siren"]
    first, second = place.table("reviews.csv")
    assert (first["source"], second["label"]) == ("'@yard", "'=1+1")
    assert second["left_out"] == "its label cannot be a name"
    assert read_manifest(place.folder / "reviewed" / "clips.csv").labels == ("siren",)
