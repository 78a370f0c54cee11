"""Labels that are not reported are scored, as rivals, and begin no event."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.audio.timeline import Block
from monitor.config.config import Config
from monitor.detection.detector import Detector
from monitor.errors import ConfigError
from monitor.model.model_file import write_model
from monitor.model.models import Models
from monitor.records import Event, Onset, Record, ScoreFrame
from monitor.runtime.loading import choose_models, load_models, with_labels
from monitor.runtime.pipeline import build_pipeline
from tests.support.detection import GATE_DBFS, detected, rule
from tests.support.models import stored_model
from tests.support.scores import drawn
from tests.support.signals import noise, sine

LIVELY = {"onset_threshold": 0.3, "offset_threshold": 0.2, "margin": 0.0}
SCENE = np.concatenate(
    [noise(4, 0.001), noise(3, 0.2) + sine(900, 3, 0.3), noise(5, 0.001)], axis=1
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of siren, drilling and gun_shot."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, stored_model())
    return path


@pytest.fixture(scope="module")
def models(model_file: Path) -> Models:
    config = configured(model_file)
    return load_models(config.model, choose_models(config))


def configured(model_file: Path, **changes: Any) -> Config:
    """Low thresholds, so that an untrained network reports something."""
    labels = dict.fromkeys(("siren", "drilling", "gun_shot"), LIVELY)
    sources = [{"name": "street", "input": "demo:"}, {"name": "yard", "input": "demo:"}]
    return Config.model_validate(
        {
            "model": {"file": str(model_file)},
            "detection": {"labels": labels},
            "sources": sources,
            **changes,
        }
    )


def records_of(models: Models, config: Config) -> list[Record]:
    """Of both sources, which hear the same."""
    pipeline = build_pipeline(config, models, "test", choose_models(config))
    arrivals = [(each.name, Block(0, SCENE)) for each in config.sources]
    records = pipeline.process(arrivals)
    for source in config.sources:
        records += pipeline.finish(source.name, "end-of-input")
    return records


def found(records: list[Record], source: str) -> set[str]:
    kinds = (Onset, Event)
    return {it.label for it in records if isinstance(it, kinds) and it.source == source}


def scores(records: list[Record]) -> list[ScoreFrame]:
    """The frames without the events that go on in them."""
    frames = [it for it in records if isinstance(it, ScoreFrame)]
    return [replace(it, ongoing=()) for it in frames]


@pytest.fixture(scope="module")
def everything(models: Models, model_file: Path) -> list[Record]:
    records = records_of(models, configured(model_file))
    assert len(found(records, "street")) >= 2
    return records


def test_a_label_that_is_not_reported_begins_no_event_and_keeps_its_scores(
    models: Models, model_file: Path, everything: list[Record]
) -> None:
    chosen = min(found(everything, "street"))
    records = records_of(models, configured(model_file, labels=[chosen]))
    assert found(records, "street") == found(records, "yard") == {chosen}
    assert scores(records) == scores(everything)
    # What is reported is what was reported before.
    assert [it for it in records if isinstance(it, Event)] == [
        it for it in everything if isinstance(it, Event) and it.label == chosen
    ]


def test_each_source_reports_its_own_labels(
    models: Models, model_file: Path, everything: list[Record]
) -> None:
    first, second, *_ = sorted(found(everything, "street"))
    sources = [
        {"name": "street", "input": "demo:", "labels": [first]},
        {"name": "yard", "input": "demo:", "labels": [second]},
        {"name": "door", "input": "demo:"},
    ]
    config = configured(model_file, labels=[first, second], sources=sources)
    records = records_of(models, config)
    assert found(records, "street") == {first}
    assert found(records, "yard") == {second}
    assert found(records, "door") == {first, second}
    by_source = {name: [] for name in ("street", "yard", "door")}
    for frame in scores(records):
        by_source[frame.source].append(frame.scores)
    assert by_source["street"] == by_source["yard"] == by_source["door"]


def test_rules_of_a_label_that_is_not_reported_are_no_fault(
    models: Models, model_file: Path
) -> None:
    config = configured(model_file, labels=["siren"])
    assert "drilling" in config.detection.labels
    build_pipeline(config, models, "test", choose_models(config))


def test_those_of_a_label_that_no_model_knows_are(
    models: Models, model_file: Path
) -> None:
    config = configured(model_file, detection={"labels": {"sirn": LIVELY}})
    with pytest.raises(ConfigError, match="sirn"):
        build_pipeline(config, models, "test", choose_models(config))


def test_it_remains_a_rival_of_those_that_are() -> None:
    rows = "..99999...", "..99999..."
    rival = {"a": rule(margin=0.3)}
    alone = Detector("street", ["a", "b"], rival, GATE_DBFS, "m", "session")
    assert detected(alone, drawn(*rows)) == []
    quiet = Detector("street", ["a", "b"], rival, GATE_DBFS, "m", "session")
    assert detected(quiet, drawn("..99999...", ".........."))


def test_rules_and_clips_name_what_is_reported(model_file: Path) -> None:
    hook = {"command": ["/bin/true"]}
    alerts = [
        {"name": "a", "labels": ["siren"], **hook},
        {"name": "b", "labels": ["drilling"], **hook},
    ]
    config = configured(model_file, alerts=alerts, clips={"labels": ["gun_shot"]})
    labels = choose_models(config).labels
    assert with_labels(config, labels) == config
    fewer = configured(
        model_file, labels=["siren"], alerts=alerts, clips={"labels": ["gun_shot"]}
    )
    with pytest.raises(ConfigError) as caught:
        with_labels(fewer, choose_models(fewer).labels)
    one, other = str(caught.value).splitlines()
    assert one.startswith("alerts[1].labels: 'drilling' is not a label that is rep")
    assert other.startswith("clips.labels: 'gun_shot' is not a label that is reported")


def test_a_group_in_a_rule_stands_for_its_labels_that_are_reported() -> None:
    """Of the included model: a kind of vehicle, and all of them."""
    labels = choose_models(Config.model_validate({"model": "world"})).labels
    group, members = next(iter(labels.groups.items()))
    rules = [{"name": "a", "labels": [group], "command": ["/bin/true"]}]
    settings = {"model": "world", "alerts": rules}
    whole = Config.model_validate(settings)
    assert with_labels(whole, choose_models(whole).labels).alerts[0].labels == (group,)
    some = Config.model_validate({**settings, "labels": list(members)})
    replaced = with_labels(some, choose_models(some).labels)
    assert replaced.alerts[0].labels == members


def test_two_models_are_chosen_by_name_and_share_no_label() -> None:
    chosen = choose_models(Config.model_validate({"models": ["urban", "world"]}))
    assert chosen.files == ("urban", "world")
    urban, world = (scored.labels for scored in chosen.labels.scored)
    assert urban == chosen.cards[0].labels
    assert not {*urban} & {*world}
    assert chosen.leader.card.name == "urban"
    assert len(chosen.names) == len(urban) + len(world)


def test_a_model_of_which_nothing_is_reported_is_not_used() -> None:
    settings = {"models": ["urban", "world"], "labels": ["siren"]}
    assert choose_models(Config.model_validate(settings)).files == ("urban",)


def test_the_models_and_the_labels_that_they_score_are_one_digest() -> None:
    def digest(**settings: Any) -> str:
        return choose_models(Config.model_validate(settings)).digest()

    alone = digest()
    assert digest(models=["urban"]) == digest(labels=["siren"]) == alone
    others = [
        digest(models=["world"]),
        digest(models=["world"], labels=["speech"]),
        digest(models=["urban", "world"]),
        digest(models=["world", "urban"]),
    ]
    assert len({alone, *others}) == 5
