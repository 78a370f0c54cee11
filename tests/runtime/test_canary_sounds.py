"""The sound of the canary is one that the model and its rules can detect."""

from collections.abc import Sequence

import numpy as np
import pytest

from monitor.audio.sources.demo import LABELS
from monitor.model.classifier import Classification, Classifier
from monitor.model.engines import WindowPlace
from monitor.model.frontend import Array
from monitor.model.model_file import Model, load_model
from tests.support.canary import SourceUnderTest, noise


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(None)


@pytest.fixture(scope="module")
def intact(model: Model) -> Classifier:
    return Classifier(model, "cpu", 1)


@pytest.mark.parametrize("label", ["drilling", "dog_bark"])
def test_the_label_of_the_settings_is_used(intact: Classifier, label: str) -> None:
    source = SourceUnderTest(intact, noise(12, -60), f"canary: {{label: {label}}}")
    result = source.result()
    assert (result.ok, result.label) == (True, label)


def test_a_rule_that_needs_a_longer_sound_gets_it_or_another_sound(
    intact: Classifier,
) -> None:
    rule = "detection: {labels: {siren: {min_duration_on_seconds: 6}}}"
    result = SourceUnderTest(intact, noise(12, -60), rule).result()
    assert (result.ok, result.label) == (True, "siren")
    longer = rule.replace("6", "600")
    result = SourceUnderTest(intact, noise(12, -60), longer).result()
    assert (result.ok, result.label) == (True, "dog_bark")


class Deaf(Classifier):
    """Does not know some labels, outside of its golden signal."""

    unknown: tuple[str, ...] = ()

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        result = super().classify(windows, places)
        if np.abs(result.scores[0] - self.golden.scores).max() < 1e-3:
            return result
        for label in self.unknown:
            index = self.labels.index(label)
            result.scores[:, index] = result.activity[:, index] = 0.02
        return result


def test_a_sound_that_the_model_does_not_know_is_replaced_by_another(
    model: Model,
) -> None:
    classifier = Deaf(model, "cpu", 1)
    classifier.unknown = ("siren", "dog_bark")
    source = SourceUnderTest(classifier, noise(12, -60))
    result = source.result()
    assert (result.ok, result.label) == (True, "drilling")
    assert source.health() == []
    again = source.result()
    assert (again.ok, again.label) == (True, "drilling")
    # What was detected once must be detected for good.
    classifier.unknown = ("drilling",)
    failed = source.result()
    assert (failed.ok, failed.label) == (False, "drilling")
    assert source.health() == [("street", "raised")]


def test_if_no_sound_is_detected_the_fault_is_that_of_the_first(model: Model) -> None:
    classifier = Deaf(model, "cpu", 1)
    classifier.unknown = tuple({*LABELS} & {*classifier.labels})
    source = SourceUnderTest(classifier, noise(12, -60))
    result = source.result()
    assert (result.ok, result.label) == (False, "siren")
    assert "siren scored" in result.detail
    assert source.health() == [("street", "raised")]
