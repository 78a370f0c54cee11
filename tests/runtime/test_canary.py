"""The canary detects its sound in an intact chain, and reports any broken part."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.sources.demo import LABELS, render_sound
from monitor.config.audio import CanaryLabel
from monitor.config.load import parse_config
from monitor.model.classifier import Classification, Classifier
from monitor.model.engines import WindowPlace
from monitor.model.frontend import Array
from monitor.model.model_file import Model, load_model
from monitor.model.models import as_models
from monitor.model.trained import to_stored
from monitor.runtime.canary_trial import (
    CanaryError,
    Chain,
    KnownSound,
    MakeResampler,
    mix,
    render,
    run_trial,
)
from monitor.runtime.services import ServiceContext, build_services
from tests.support.canary import LIVE, RATE, SourceUnderTest, noise
from tests.support.clock import FakeClock
from tests.support.models import seeded_model
from tests.support.timed import frame, gap

OUT_OF_REACH = """
canary: {label: siren}
detection: {labels: {siren: {onset_threshold: 0.9999}}}
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(None)


def classifier_of(model: Model) -> Classifier:
    return Classifier(model, "cpu", 1)


@pytest.fixture(scope="module")
def intact(model: Model) -> Classifier:
    return classifier_of(model)


@pytest.mark.parametrize("source_rate", [8_000, 16_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize(
    "captured",
    [
        noise(12, -75),
        noise(12, -20),
        noise(12, -3, channels=2),
        np.zeros((2, 12 * RATE), np.float32),
        noise(5, -60),
    ],
    ids=["quiet", "loud", "too-loud", "digital-silence", "just-opened"],
)
def test_the_sound_is_detected_whatever_was_captured(
    intact: Classifier, captured: Samples, source_rate: int
) -> None:
    source = SourceUnderTest(intact, captured, source_rate=source_rate)
    result = source.result()
    assert (result.ok, result.detail, result.label) == (True, "", "siren")
    assert result.score is not None
    assert result.score > 0.7
    assert source.health() == []


def test_the_first_trial_is_soon_after_the_start_and_the_next_after_the_interval(
    intact: Classifier,
) -> None:
    source = SourceUnderTest(intact, noise(12, -60), "canary: {every_seconds: 900}")
    assert source.run(600, state="waiting") is None
    began = source.clock.monotonic()
    source.result()
    first = source.clock.monotonic()
    assert first - began < 15
    source.result()
    assert 890 < source.clock.monotonic() - first < 920


class Counting(Classifier):
    """Notes the number of windows of each call."""

    def __init__(self, model: Model) -> None:
        self.counts: list[int] = []
        super().__init__(model, "cpu", 1)

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        self.counts.append(len(windows))
        return super().classify(windows, places)


def test_one_window_is_computed_per_report_and_none_with_a_backlog(
    model: Model,
) -> None:
    classifier = Counting(model)
    counts = classifier.counts
    source = SourceUnderTest(classifier, noise(12, -60))
    most = 0
    for _ in range(200):
        before = len(counts)
        source.run(0.25)
        most = max(most, len(counts) - before)
    assert (most, max(counts)) == (1, 1)
    assert len(counts) < 15

    behind = SourceUnderTest(classifier, noise(12, -60))
    counts.clear()
    late = behind.run(backlog=10 * RATE)
    assert counts == []
    assert late is not None
    assert "longer than" in late.detail


class Weightless(Classifier):
    """A network whose weights were zeroed."""

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        result = super().classify(windows, places)
        return Classification(
            np.full_like(result.scores, 0.02), np.full_like(result.activity, 0.02)
        )


def test_zeroed_weights_are_found(model: Model) -> None:
    source = SourceUnderTest(Weightless(model, "cpu"), noise(12, -60))
    result = source.result()
    assert not result.ok
    assert "golden signal" in result.detail
    assert source.health() == [("street", "raised")]


def test_zeroed_weights_are_found_with_their_own_golden_vector(model: Model) -> None:
    classifier = Weightless(model, "cpu")
    scores = np.full_like(model.golden.scores, 0.02)
    classifier.golden = model.golden._replace(scores=scores)
    result = SourceUnderTest(classifier, noise(12, -60)).result()
    assert not result.ok
    assert "siren scored" in result.detail


def test_other_mel_bands_are_found(model: Model) -> None:
    wrong = model.spec.model_copy(update={"f_max": 9_000.0})
    classifier = classifier_of(model)
    classifier.spec = wrong
    result = SourceUnderTest(classifier, noise(12, -60)).result()
    assert not result.ok
    assert "golden" in result.detail


def test_a_threshold_that_nothing_reaches_is_found(intact: Classifier) -> None:
    source = SourceUnderTest(intact, noise(12, -60), OUT_OF_REACH)
    result = source.result()
    assert not result.ok
    assert "below its threshold of 1.00" in result.detail
    assert source.health() == [("street", "raised")]


def test_a_gate_that_nothing_passes_is_found(intact: Classifier) -> None:
    source = SourceUnderTest(intact, noise(12, -60), "detection: {level_gate_dbfs: 0}")
    result = source.result()
    assert not result.ok
    assert "siren lies below the level gate" in result.detail


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _, model_rate, channels: StreamResampler(44_100, model_rate, channels),
        lambda rate, _, channels: StreamResampler(rate, 48_000, channels),
    ],
    ids=["of another source", "to another model"],
)
def test_a_resampler_at_a_wrong_rate_is_found(
    intact: Classifier, wrong: MakeResampler
) -> None:
    source = SourceUnderTest(
        intact, noise(12, -60), source_rate=22_050, make_resampler=wrong
    )
    result = source.result()
    assert not result.ok
    assert "the resampler makes" in result.detail


def test_an_event_that_begins_too_late_is_found(intact: Classifier) -> None:
    """As a network would whose columns stand for another place in the window."""
    chain = Chain.of(parse_config(LIVE, "config.yaml"), intact)
    sound = render(KnownSound("siren", 3.0), RATE, RATE)
    mixture = mix(np.zeros(5 * RATE, np.float32), noise(12, -60), chain)
    late = chain.lead_samples + 2 * RATE
    mixture[:, late : late + sound.size] += 0.1 * sound
    with pytest.raises(
        CanaryError, match=r"siren was detected (1\.9|2\.[01]) s too late"
    ):
        list(run_trial(chain, "siren", mixture))


@pytest.mark.parametrize("scores", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_found(model: Model, scores: float) -> None:
    class Broken(Classifier):
        def classify(
            self, windows: Array, places: Sequence[WindowPlace] = ()
        ) -> Classification:
            result = super().classify(windows, places)
            return Classification(result.scores * scores, result.activity)

    result = SourceUnderTest(Broken(model, "cpu"), noise(12, -60)).result()
    assert not result.ok
    assert "golden signal" in result.detail


def test_an_unexpected_exception_is_found_and_ends_nothing(model: Model) -> None:
    class Broken(Classifier):
        def classify(
            self, windows: Array, places: Sequence[WindowPlace] = ()
        ) -> Classification:
            raise RuntimeError("out of order")

    source = SourceUnderTest(Broken(model, "cpu", 1), noise(12, -60))
    result = source.result()
    assert "out of order" in result.detail
    assert source.health() == [("street", "raised")]


def test_a_trial_that_does_not_end_is_found(intact: Classifier) -> None:
    source = SourceUnderTest(intact, noise(12, -60), start=lambda _: Future())
    assert "longer than 60 s" in source.result().detail


def test_success_clears_what_failure_raised(model: Model) -> None:
    class Changing(Classifier):
        is_broken = True

        def classify(
            self, windows: Array, places: Sequence[WindowPlace] = ()
        ) -> Classification:
            result = super().classify(windows, places)
            return Classification(result.scores * (not self.is_broken), result.activity)

    classifier = Changing(model, "cpu", 1)
    source = SourceUnderTest(classifier, noise(12, -60))
    assert not source.result().ok
    assert source.health() == [("street", "raised")]
    assert not source.result().ok
    assert source.health() == []
    classifier.is_broken = False
    assert source.result().ok
    assert source.health() == [("street", "cleared")]
    assert [each.ok for each in source.canary.canary_results] == [True]


def test_a_similar_sound_in_the_captured_samples_does_not_mask_it(
    intact: Classifier,
) -> None:
    """A real siren would hide the beginning of the known one."""
    siren = 0.1 * render_sound("siren", 12.0, RATE)
    source = SourceUnderTest(intact, siren.astype(np.float32)[np.newaxis])
    assert source.result().ok


def test_captured_samples_with_a_similar_sound_are_left_out_at_once(
    model: Model,
) -> None:
    windows = []
    for score in (0.02, 0.9):
        classifier = Counting(model)
        siren = 0.1 * render_sound("siren", 12.0, RATE).astype(np.float32)
        source = SourceUnderTest(classifier, siren[np.newaxis])
        source.canary.write([frame(stop_seconds=12.0, scores={"siren": score})])
        assert source.result().ok
        windows.append(sum(classifier.counts))
    assert windows[0] > 1.5 * windows[1]  # two trials and one


def test_captured_samples_before_a_gap_are_left_out(intact: Classifier) -> None:
    source = SourceUnderTest(intact, noise(12, -60))
    source.canary.write([gap(start_seconds=9.0, seconds=1.0)])
    assert source.result().ok
    assert source.timeline.starts == [10 * RATE]


def test_a_failed_trial_is_repeated_sooner(intact: Classifier) -> None:
    source = SourceUnderTest(intact, noise(12, -60), OUT_OF_REACH)
    source.result()
    failed = source.clock.monotonic()
    source.result()
    assert 300 <= source.clock.monotonic() - failed < 330


def test_a_model_without_a_suitable_label_is_tested_by_its_golden_vector() -> None:
    seeded = seeded_model()
    labels = ("jackhammer", "gun_shot", "rain")
    card = seeded.card.model_copy(
        update={"labels": labels, "thresholds": {}, "temperatures": {}}
    )
    loaded = to_stored(replace(seeded, card=card))
    result = SourceUnderTest(classifier_of(loaded), noise(12, -60)).result()
    assert (result.ok, result.label, result.score) == (True, None, None)
    classifier = classifier_of(loaded)
    scores = loaded.golden.scores * 0.5
    classifier.golden = loaded.golden._replace(scores=scores)
    source = SourceUnderTest(classifier, noise(12, -60))
    assert not source.result().ok
    assert source.health() == [("street", "raised")]


@pytest.mark.parametrize(
    "text",
    ["canary: {every_seconds: null}", "sources: [{name: a, input: 'demo:'}]"],
)
def test_there_is_no_canary_if_it_is_off_or_no_source_is_live(
    intact: Classifier, tmp_path: Path, text: str
) -> None:
    def built(text: str) -> list[str]:
        config = parse_config(text, "config.yaml")
        models = as_models(intact)
        labels = {source.name: models.labels for source in config.sources}
        context = ServiceContext(
            config, labels, RATE, FakeClock(), tmp_path, {}, models=models
        )
        return [type(service).__name__ for service in build_services(context)]

    assert "Canary" in built("")
    assert "Canary" not in built(text)


def test_closing_clears_the_health_that_it_raised(intact: Classifier) -> None:
    source = SourceUnderTest(intact, noise(12, -60), OUT_OF_REACH)
    source.result()
    assert source.health() == [("street", "raised")]
    source.canary.close()
    assert source.health() == [("street", "cleared")]


def test_every_label_of_the_settings_can_be_synthesised() -> None:
    assert get_args(CanaryLabel) == LABELS
    for label in LABELS:
        sound = render(KnownSound(label, 3.0), 16_000, RATE)
        assert sound.size == 3 * RATE
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(1.0, abs=0.1)


def test_the_mixture_does_not_clip_and_the_sound_stands_out(
    intact: Classifier,
) -> None:
    chain = Chain.of(parse_config(LIVE, "config.yaml"), intact)
    sound = render(KnownSound("siren", 3.0), RATE, RATE)
    begin = chain.lead_samples
    for dbfs in (-90, -60, -30, 0):
        captured = noise(10, dbfs, channels=2)
        before = captured.copy()
        mixture = mix(sound, captured, chain)
        assert np.abs(mixture).max() < 1
        sounding = mixture[:, begin : begin + sound.size]
        rest = mixture[:, :begin]
        assert 10 * np.log10(np.mean(sounding**2) / np.mean(rest**2)) > 25
        assert np.array_equal(captured, before)


def test_the_sound_passes_a_gate_that_only_the_loudest_can_pass(
    intact: Classifier,
) -> None:
    chain = Chain.of(parse_config(LIVE, "config.yaml"), intact)
    sound = render(KnownSound("siren", 3.0), RATE, RATE)
    mixture = mix(sound, noise(10, -60), replace(chain, gate_dbfs=-3))
    assert 0.9 < np.abs(mixture).max() < 1
