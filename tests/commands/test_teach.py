"""`teach` writes the file of a label, and says what to expect; or why it cannot."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.commands.configuration import load
from monitor.commands.teach_report import advice
from monitor.model.card import read_card
from monitor.model.catalogue import default_labels
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.model.negatives import negatives_path, write_negatives
from monitor.model.taught import read_taught, taught_path
from monitor.records import Timed
from monitor.runtime.examples import Embedder
from monitor.runtime.teaching import Report, WeekReport
from monitor.sinks.clip_files import Clip, save
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.commands import fails, run
from tests.support.doorbell import doorbell, write_rings
from tests.support.embeddings import KEPT, embedded_frames
from tests.support.store import session
from tests.support.taught import negatives_for
from tests.support.timed import OPENED


@pytest.fixture(autouse=True)
def _spectrum_as_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding of an untrained network says nothing."""

    def embed(self: Embedder, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_mel = self._log_mel(window[None])
        scores = np.full(len(self.labels), 0.1, np.float32)
        return log_mel[0].mean(axis=-1), scores

    monkeypatch.setattr(Embedder, "embed", embed)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """A model with negatives beside it."""
    path = tmp_path_factory.mktemp("taught") / "own.safetensors"
    path.write_bytes(model_file.read_bytes())
    return path


@pytest.fixture
def ready(model: Path, tmp_path: Path) -> list[object]:
    """Options of a command that can teach."""
    if not (beside := negatives_path(str(model))).exists():
        loaded = load_model(str(model))
        embedder = Embedder(Classifier(loaded, "cpu"))
        digest = loaded.network_digest
        write_negatives(beside, negatives_for(embedder, 8, digest))
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return ["--model", model, "--config", config]


def test_a_label_is_taught_from_files(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rings = write_rings(tmp_path, 5)
    out = run(capsys, "teach", "our_bell", *rings, *ready)
    path = taught_path(tmp_path / "state", "our_bell")
    assert "our_bell: taught from 5 examples on the model seeded" in out
    assert "detected, each left out in turn: " in out
    assert "store.embeddings: true" in out
    assert f"wrote {path}" in out
    taught = read_taught(path)
    assert taught.card.clips == 5
    assert taught.card.newest_event_seconds is None
    before = path.read_bytes()
    facts = json.loads(
        run(capsys, "teach", "our_bell", *rings[::-1], *ready, "--force", "--json")
    )
    assert facts["label"] == "our_bell"
    assert facts["alarm_times"] is None
    assert path.read_bytes() == before


def printed_settings(out: str) -> str:
    """The lines of a report that are to be written in config.yaml."""
    return "\n".join(line[2:] for line in out.splitlines() if line.startswith("  "))


def test_the_settings_that_it_prints_switch_the_label_on(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rings = write_rings(tmp_path, 3)
    config = tmp_path / "config.yaml"
    before = config.read_text()
    out = run(capsys, "teach", "our_bell", *rings, *ready)
    assert "'labels:' replaces the default labels" in out
    config.write_text(f"{before}{printed_settings(out)}\n")
    settings = load(config).config
    assert settings.models == ("urban", str(ready[1]))
    assert settings.labels == (*default_labels(read_card("urban").card), "our_bell")
    checked = json.loads(run(capsys, "check", *ready[2:], "--json"))
    assert checked["labels"]["our_bell"]["model"] == "seeded"
    out = run(capsys, "teach", "our_bell", *rings, *ready, "--force")
    assert "'labels:' in config.yaml has our_bell already" in out
    assert printed_settings(out) == ""
    # The others stay as they are.
    out = run(capsys, "teach", "gate", *rings, *ready)
    labels = ", ".join((*settings.labels, "gate"))
    assert printed_settings(out) == f"labels: [{labels}]"
    assert "replaces" not in out


def test_models_and_sources_with_settings_of_their_own_are_named(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "config.yaml").open("a") as file:
        file.write(
            "model: urban\nlabels: ['yes']\nsources:\n"
            "  - {name: yard, input: 'mic:default', labels: [dog_bark]}\n"
        )
    out = run(capsys, "teach", "no", *write_rings(tmp_path, 3), *ready)
    assert "labels: ['yes', 'no']" in printed_settings(out)
    assert "'models:' replaces model.file: remove that" in out
    assert "labels of their own need it there: yard" in out


def test_a_file_elsewhere_must_be_moved(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rings, out = write_rings(tmp_path, 3), tmp_path / "copy.safetensors"
    printed = run(capsys, "teach", "our_bell", *rings, *ready, "--out", out)
    place = taught_path(tmp_path / "state", "our_bell")
    assert f"must lie in {place.parent} and have the name {place.name}" in printed
    place.parent.mkdir(parents=True)
    out.rename(place)
    assert read_taught(place).card.label == "our_bell"


@pytest.mark.parametrize(
    ("kept_of", "words"),
    [
        ("seeded", "are of a model seeded replaced since"),
        ("urban", "are of the model urban; let seeded listen too"),
        ("seeded+urban", "are of the model urban; let seeded listen too"),
    ],
)
def test_embeddings_of_another_model_are_no_week(
    kept_of: str,
    words: str,
    ready: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "state").mkdir()
    kept = replace(session(), model=kept_of, embedding_id="b" * 64)
    clock = FakeClock()
    clock.wall = datetime.now(UTC) - timedelta(hours=1)
    store = Store(tmp_path / "state" / "monitor.db", KEPT, kept, clock)
    shift = clock.utc() - OPENED
    store.write([moved(each, shift) for each in embedded_frames(30)])
    store.close()
    out = run(capsys, "teach", "our_bell", *write_rings(tmp_path, 3), *ready)
    assert words in out
    assert "store.embeddings" not in out


def moved(timed: Timed, shift: timedelta) -> Timed:
    """The same record at another time."""
    assert timed.start_utc is not None
    assert timed.end_utc is not None
    return replace(
        timed, start_utc=timed.start_utc + shift, end_utc=timed.end_utc + shift
    )


def test_a_label_is_taught_from_events(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "state" / "clips").mkdir(parents=True)
    begins = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)
    ids = [f"{number}f0c2ab3" for number in range(4)]
    for number, event_id in enumerate(ids):
        ring = doorbell("hall", 1.0 + number, 16_000, number, seconds=6.0)
        place = (16_000, ring[None], 32_000, 64_000, "")
        moment = begins + timedelta(hours=number)
        save(folder, Clip(event_id, "door", "x", moment, 0.0, *place))
    run(capsys, "teach", "our_bell", *ids, "--from-events", *ready)
    card = read_taught(taught_path(tmp_path / "state", "our_bell")).card
    end = begins + timedelta(hours=3, seconds=4)
    assert card.newest_event_seconds == pytest.approx(end.timestamp(), abs=0.01)
    # The label goes with the events that it was taught from.
    path = taught_path(tmp_path / "state", "our_bell")
    path.rename(path.with_name("gate.safetensors"))  # whatever its name
    config = ready[2:]
    out = run(capsys, "forget", "--since", "2026-11-23T12:00Z", "--yes", *config)
    assert "taught" not in out
    out = run(capsys, "forget", "--since", "2026-11-23T10:00Z", "--yes", *config)
    assert "deleted: the taught label gate" in out


def test_forget_deletes_a_taught_label(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("our_bell", "gate"):
        run(capsys, "teach", name, *write_rings(tmp_path, 3), *ready)
    code, err = fails(capsys, "forget", "--taught", "my_bell", *ready[2:])
    assert (code, "taught: gate, our_bell" in err) == (2, True)
    with Path(str(ready[3])).open("a") as file:
        file.write("detection: {labels: {our_bell: {margin: 0.1}}}\n")
    out = run(capsys, "forget", "--taught", "our_bell", *ready[2:])
    assert "deleted: " in out
    assert "remove our_bell from 'detection.labels:' in the configuration" in out
    out = run(capsys, "forget", "--all", "--json", *ready[2:])
    assert json.loads(out)["taught_labels"] == 1


def silent(folder: Path) -> Path:
    soundfile.write(path := folder / "silent.wav", np.zeros(16_000), 16_000)
    return path


def test_what_cannot_be_taught_is_rejected_in_a_sentence(
    ready: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rings = write_rings(tmp_path, 3)
    for arguments, sentence in [
        (("our_bell", *rings[:2]), "CLIP: 2 given; a label needs 3"),
        (("siren", *rings), "NAME: siren is a label of the model seeded already"),
        (("a/b", *rings), "NAME: 'a/b' cannot be a label: it holds '/'"),
        (("my_bell", *rings[:2], "none.wav"), "none.wav: there is no such file"),
        (("my_bell", *rings[:2], silent(tmp_path)), "silent.wav: is silent"),
        (("my_bell", *rings[:2], rings[0]), "3 given, but only 2 differ"),
        (("my_bell", *rings, "--from-events"), "no clip of an event"),
    ]:
        code, err = fails(capsys, "teach", *arguments, *ready)
        assert (code, err.count("\n")) == (2, 1), err
        assert sentence in err
    assert not (tmp_path / "state").exists()
    run(capsys, "teach", "my_bell", *rings, *ready)
    code, err = fails(capsys, "teach", "my_bell", *rings, *ready)
    assert (code, "replace it with --force" in err) == (2, True)


def test_negatives_of_another_model_are_rejected(
    ready: list[object],
    model: Path,
    tmp_path: Path,
    curved_model_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(curved_model_file.read_bytes())
    rings = write_rings(tmp_path, 3)
    options = ["--model", other, *ready[2:]]
    code, err = fails(capsys, "teach", "my_bell", *rings, *options)
    assert (code, "has no negatives" in err) == (2, True)
    content = negatives_path(str(model)).read_bytes()
    damaged = content.replace(load_model(str(model)).network_digest.encode(), b"0" * 64)
    negatives_path(str(other)).write_bytes(damaged)
    code, err = fails(capsys, "teach", "my_bell", *rings, *options)
    assert (code, "was made for another model" in err) == (2, True)


def test_fifty_thousand_clips_are_answered_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"ring{number}.wav" for number in range(50_000)]
    begin = time.process_time()
    code, err = fails(capsys, "teach", "our_bell", *names)
    assert code == 2
    assert "50000 given; at most 50 are taken: choose those that differ most" in err
    # Reading so many files would take minutes.
    assert time.process_time() - begin < 30


def report(**changes: object) -> Report:
    facts: dict[str, object] = {
        "examples": 10,
        "missed": (),
        "others": (),
        "place_alarms": 0,
        "place_hours": 1.7,
        "is_supported": True,
        "known": (),
        "resembling": (),
        "week": WeekReport(168.0, 2, ()),
    }
    return Report(**(facts | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"examples": 5}, ["another distance"]),
        ({"others": ("a.wav",)}, ["a label of its own"]),
        ({"missed": ("a.wav",)}, ["were not detected"]),
        ({"is_supported": False}, ["stand out from their background"]),
        ({"known": (("Doorbell", 0.9),)}, ["the label Doorbell"]),
        ({"week": None}, ["a week with store.embeddings"]),
        ({"week": None, "other_models": ("urban",)}, ["its model listens"]),
        ({"week": WeekReport(24.0, 90, ())}, ["a lower sensitivity"]),
    ],
)
def test_the_advice_fits_the_report(
    changes: dict[str, object], words: list[str]
) -> None:
    found = advice(report(**changes))
    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
