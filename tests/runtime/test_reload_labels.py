"""Other labels are taken by a reload, without a gap in what is captured."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.model.catalogue import CatalogueEntry
from monitor.model.trained import TrainedModel, save_model
from tests.support.models import seeded_model
from tests.support.reloading import Running, started
from tests.support.taught import write_head


def model_with_catalogue() -> TrainedModel:
    """A model that reports `alarm` and `works`; of the latter it knows two kinds."""
    made = seeded_model()
    catalogue = {
        "alarm": CatalogueEntry(text="Alarms.", classes=("siren",)),
        "works": CatalogueEntry(text="Works.", classes=("drilling", "gun_shot")),
        "drill": CatalogueEntry(text="Drills.", classes=("drilling",), group="works"),
    }
    return replace(made, card=made.card.model_copy(update={"catalogue": catalogue}))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    save_model(tmp_path / "catalogue.safetensors", model_with_catalogue())
    with started(tmp_path) as monitor:
        yield monitor


def with_catalogue(running: Running, **changes: Any) -> dict[str, Any]:
    return {
        "model": {"file": str(running.folder / "catalogue.safetensors")},
        **changes,
    }


def test_other_labels_begin_a_new_session_and_keep_the_captures(
    running: Running,
) -> None:
    """Their scores are others: those of the store have the labels of their session."""
    running.reload(**with_catalogue(running))
    app, before = running.app, running.app.sources["street"]
    session = app.plan.models.session
    assert session.labels == ("alarm", "works")
    sentence = running.reload(**with_catalogue(running, labels=["drill"]))
    assert sentence == "settings changed: labels"
    after = app.sources["street"]
    assert after.capture is before.capture
    assert after.input.timeline is before.input.timeline
    assert app.plan.models.session.session != session.session
    assert app.plan.models.session.labels == ("drill",)
    assert app.plan.pipeline.models.labels == ("drill",)
    assert running.reload(**with_catalogue(running, labels=["drill"])) == (
        "nothing changed"
    )


def test_what_is_reported_of_the_same_scores_changes_within_the_session(
    running: Running,
) -> None:
    """A model without a catalogue scores all of its labels in any case."""
    app, before = running.app, running.app.plan.models
    assert running.reload(labels=["siren"]) == "settings changed: labels"
    assert app.plan.models.session is before.session
    assert app.plan.models.models is before.models
    assert app.plan.models.chosen.labels.reported == {"street": ("siren",)}


def test_the_labels_of_a_source_change_without_reopening_it(running: Running) -> None:
    app, before = running.app, running.app.sources["street"]
    (street,) = running.settings["sources"]
    sources = [{**street, "labels": ["siren"]}]
    assert running.reload(sources=sources) == "sources changed: street"
    assert app.sources["street"].capture is before.capture
    assert app.plan.models.chosen.labels.reported == {"street": ("siren",)}


def test_an_unknown_label_is_rejected_and_touches_nothing(running: Running) -> None:
    plan = running.app.plan
    sentence = running.reload(labels=["sirn"])
    assert sentence.startswith("labels: 'sirn' is not a label of seeded; did you mean")
    assert running.facts.reload is not None
    assert not running.facts.reload.is_taken
    assert running.app.plan is plan


def test_a_taught_label_that_does_not_fit_is_rejected_as_a_whole(
    running: Running,
) -> None:
    app = running.app
    plan, before = app.plan, app.sources["street"]
    classifier = plan.models.models.members[0].classifier
    features, network = classifier.count_features(), classifier.network_digest
    write_head(running.folder, "our_bell", features + 1, "seeded", network)
    sentence = running.reload(labels=["siren", "our_bell"], ring_seconds=20)
    assert f"has {features + 1} weights" in sentence
    assert running.facts.reload is not None
    assert not running.facts.reload.is_taken
    running.on_worker(lambda: None)
    assert app.plan is plan
    assert app.sources["street"] is before
    write_head(running.folder, "our_bell", features, "seeded", network)
    running.reload(labels=["siren", "our_bell"])
    assert running.facts.reload.is_taken
    assert "our_bell" in app.plan.models.session.labels
