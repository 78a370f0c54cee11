"""A model file, and the log of this process restored after each command."""

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.model.trained import save_model
from tests.support.catalogues import catalogue_card
from tests.support.clock import FakeClock
from tests.support.curves import thresholds_on_curve
from tests.support.health import trouble
from tests.support.models import seeded_model
from tests.support.store import make_store, score_frames
from tests.support.timed import OPENED, event, gap, onset


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with the labels siren, drilling and gun_shot."""
    path = tmp_path_factory.mktemp("models") / "seeded.safetensors"
    save_model(path, seeded_model())
    return path


@pytest.fixture(scope="session")
def curved_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a curve for siren, 0.95 to 0.2, and for gun_shot, 0.9 to 0.5."""
    path = tmp_path_factory.mktemp("models") / "curved.safetensors"
    model = seeded_model()
    thresholds = {
        "siren": thresholds_on_curve(
            (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
        ),
        "gun_shot": thresholds_on_curve((0.9,) * 5 + (0.7,) * 5 + (0.5,)),
    }
    card = model.card.model_copy(update={"thresholds": thresholds})
    save_model(path, replace(model, card=card))
    return path


@pytest.fixture(scope="session")
def catalogue_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the catalogue of `catalogue_card`."""
    path = tmp_path_factory.mktemp("models") / "catalogue.safetensors"
    save_model(path, replace(seeded_model(), card=catalogue_card()))
    return path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configuration of a database with three sounds and a gap."""
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = OPENED
    store = make_store(tmp_path / "state" / "monitor.db", clock)
    store.write(
        [
            event(number=1, start_seconds=10, seconds=5),
            event(number=2, label="dog_bark", start_seconds=20, source="yard"),
            onset(number=3, label="drilling", start_seconds=30),
            gap(start_seconds=50),
            *score_frames(60),
        ]
    )
    store.close()
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path


@pytest.fixture
def with_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configuration of a database with health problems."""
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = OPENED
    store = make_store(tmp_path / "state" / "monitor.db", clock)
    cleared = trouble("cleared", start_seconds=15, seconds=75)
    store.write([event(number=1, start_seconds=10, seconds=5)])
    store.write([trouble(start_seconds=15), cleared])
    store.write([event(number=2, start_seconds=20, seconds=5), *score_frames(60)])
    store.write([trouble(kind="deaf", source="yard", start_seconds=30)])
    store.close()
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path
