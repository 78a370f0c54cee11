"""The canary sings in a sound chain, and falls silent when any part of it breaks."""

from concurrent.futures import Future
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pytest
import torch

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.sources.demo import LABELS, render_sound
from monitor.config.audio import CanaryLabel
from monitor.config.load import parse_config
from monitor.model.classifier import Classification, Classifier
from monitor.model.model_file import TrainedModel, load_model, save_model
from monitor.runtime.canary import build_canary, ears_of
from monitor.runtime.canary_trial import (
    MakeResampler,
    Mixture,
    Slices,
    Song,
    Verdict,
    mix,
    render_song,
    run_trial,
)
from monitor.runtime.health import HealthReports
from monitor.runtime.services import AudioHistory, ServiceContext, build_services
from tests.support.cage import LIVE, RATE, Cage, noise
from tests.support.clock import FakeClock
from tests.support.models import seeded_model


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return load_model(None)


def classifier_of(model: TrainedModel) -> Classifier:
    return Classifier(model, "cpu", 1)


@pytest.fixture(scope="module")
def sound_one(model: TrainedModel) -> Classifier:
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
def test_it_comes_out_of_a_sound_chain_whatever_was_captured(
    sound_one: Classifier, captured: Samples, source_rate: int
) -> None:
    cage = Cage(sound_one, captured, source_rate=source_rate)
    result = cage.result()
    assert (result.ok, result.detail, result.label) == (True, "", "siren")
    assert result.score is not None
    assert result.score > 0.7
    assert cage.health() == []


def test_it_sings_soon_after_the_source_is_heard_and_then_on_its_schedule(
    sound_one: Classifier,
) -> None:
    cage = Cage(sound_one, noise(12, -60), "canary: {every_seconds: 900}")
    assert cage.let_sing(600, state="waiting") is None
    began = cage.clock.monotonic()
    cage.result()
    first = cage.clock.monotonic()
    assert first - began < 15
    cage.result()
    assert 890 < cage.clock.monotonic() - first < 920


def test_it_computes_a_window_at_a_time_and_none_while_sound_waits(
    model: TrainedModel,
) -> None:
    counts: list[int] = []

    class Counting(Classifier):
        def classify(self, windows: torch.Tensor) -> Classification:
            counts.append(len(windows))
            return super().classify(windows)

    cage = Cage(Counting(model, "cpu", 1), noise(12, -60))
    most = 0
    for _ in range(200):
        before = len(counts)
        assert cage.let_sing(0.25) is None or cage.canary.canary_results
        most = max(most, len(counts) - before)
    assert (most, max(counts)) == (1, 1)
    assert len(counts) < 15

    behind = Cage(Counting(model, "cpu", 1), noise(12, -60))
    counts.clear()
    late = behind.let_sing(70, backlog=10 * RATE)
    assert counts == []
    assert late is None or "longer than" in late.detail


def test_weights_that_were_zeroed_are_noticed(model: TrainedModel) -> None:
    classifier = classifier_of(model)
    network = classifier._engine._folded[1]
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
    cage = Cage(classifier, noise(12, -60))
    result = cage.result()
    assert not result.ok
    assert cage.health() == [("street", "raised")]


def test_a_network_without_weights_is_noticed_even_if_no_golden_vector_is_known(
    model: TrainedModel,
) -> None:
    empty = deepcopy(model.network)
    with torch.no_grad():
        for weights in empty.parameters():
            weights.zero_()
    cage = Cage(
        classifier_of(replace(model, network=empty, golden=None)), noise(12, -60)
    )
    result = cage.result()
    assert not result.ok
    assert "siren scored" in result.detail


def test_other_mel_bands_are_noticed(model: TrainedModel) -> None:
    wrong = model.spec.model_copy(update={"f_max": 9_000.0})
    result = Cage(classifier_of(replace(model, spec=wrong)), noise(12, -60)).result()
    assert not result.ok
    assert "golden" in result.detail


def test_a_threshold_that_nothing_reaches_is_noticed(sound_one: Classifier) -> None:
    rule = "detection: {labels: {siren: {onset_threshold: 0.9999}}}"
    cage = Cage(sound_one, noise(12, -60), rule)
    result = cage.result()
    assert not result.ok
    assert "below its threshold of 1.00" in result.detail
    assert cage.health() == [("street", "raised")]


def test_a_gate_that_nothing_passes_is_noticed(sound_one: Classifier) -> None:
    cage = Cage(sound_one, noise(12, -60), "detection: {level_gate_dbfs: 0}")
    result = cage.result()
    assert not result.ok
    assert "its rule told no event" in result.detail


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _, model_rate, channels: StreamResampler(44_100, model_rate, channels),
        lambda rate, _, channels: StreamResampler(rate, 48_000, channels),
    ],
    ids=["of another source", "to another model"],
)
def test_a_resampler_at_a_wrong_rate_is_noticed(
    sound_one: Classifier, wrong: MakeResampler
) -> None:
    cage = Cage(sound_one, noise(12, -60), source_rate=22_050, make_resampler=wrong)
    result = cage.result()
    assert not result.ok
    assert "the resampler makes" in result.detail


def test_a_rule_that_tells_too_late_is_noticed(sound_one: Classifier) -> None:
    """As a network would whose columns stand for another place in the window."""
    ears = ears_of(parse_config(LIVE, "config.yaml"), sound_one)
    mixture = Mixture(noise(9, -60), 2 * RATE)
    song = render_song(Song("siren", 3.0), RATE, RATE)
    mixture.samples[:, 4 * RATE :][:, : song.size] += 0.1 * song
    verdict = walk(run_trial(ears, "siren", mixture))
    assert (
        "2.0 s too late" in verdict.complaint or "1.9 s too late" in verdict.complaint
    )


def walk(slices: Slices) -> Verdict:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return cast("Verdict", end.value)


@pytest.mark.parametrize("scores", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_noticed(
    model: TrainedModel, scores: float
) -> None:
    class Broken(Classifier):
        def classify(self, windows: torch.Tensor) -> Classification:
            heard = super().classify(windows)
            return Classification(heard.scores * scores, heard.activity)

    silent = replace(model, golden=None)
    result = Cage(Broken(silent, "cpu", 1), noise(12, -60)).result()
    assert not result.ok
    assert "not finite" in result.detail
    assert not Cage(Broken(model, "cpu", 1), noise(12, -60)).result().ok


def test_what_is_thrown_is_noticed_and_ends_nothing(model: TrainedModel) -> None:
    class Broken(Classifier):
        def classify(self, windows: torch.Tensor) -> Classification:
            raise RuntimeError("the wing is broken")

    cage = Cage(Broken(model, "cpu", 1), noise(12, -60))
    result = cage.result()
    assert "the wing is broken" in result.detail
    assert cage.health() == [("street", "raised")]


def test_a_trial_that_does_not_end_is_noticed(sound_one: Classifier) -> None:
    cage = Cage(sound_one, noise(12, -60), start=lambda _: Future())
    assert "longer than 60 s" in cage.result().detail


def test_success_clears_what_failure_raised(model: TrainedModel) -> None:
    class Moody(Classifier):
        is_deaf = True

        def classify(self, windows: torch.Tensor) -> Classification:
            heard = super().classify(windows)
            return Classification(heard.scores * (not self.is_deaf), heard.activity)

    classifier = Moody(model, "cpu", 1)
    cage = Cage(classifier, noise(12, -60))
    assert not cage.result().ok
    assert cage.health() == [("street", "raised")]
    assert not cage.result().ok
    assert cage.health() == []
    classifier.is_deaf = False
    assert cage.result().ok
    assert cage.health() == [("street", "cleared")]
    assert [each.ok for each in cage.canary.canary_results] == [True]


def test_a_real_sound_of_its_kind_is_not_in_its_way(sound_one: Classifier) -> None:
    """A siren that sounds anyway would hide where the known one begins."""
    siren = 0.1 * render_sound("siren", 12.0, RATE)
    cage = Cage(sound_one, siren.astype(np.float32)[np.newaxis])
    assert cage.result().ok


def test_it_takes_the_sound_that_it_is_told_to_and_that_the_model_knows(
    sound_one: Classifier,
) -> None:
    cage = Cage(sound_one, noise(12, -60), "canary: {label: dog_bark}")
    result = cage.result()
    assert (result.ok, result.label) == (True, "dog_bark")


def test_a_rule_that_wants_more_of_a_sound_gets_more(sound_one: Classifier) -> None:
    rule = "detection: {labels: {siren: {min_duration_on_seconds: 6}}}"
    result = Cage(sound_one, noise(12, -60), rule).result()
    assert (result.ok, result.label) == (True, "siren")
    longer = rule.replace("6", "600")
    result = Cage(sound_one, noise(12, -60), longer).result()
    assert (result.ok, result.label) == (True, "dog_bark")


def test_a_model_without_such_a_label_is_tried_by_its_golden_vector(
    tmp_path: Path,
) -> None:
    seeded = seeded_model()
    labels = ("drilling", "gun_shot", "rain")
    card = seeded.card.model_copy(
        update={"labels": labels, "thresholds": {}, "temperatures": {}}
    )
    save_model(tmp_path / "rain.safetensors", replace(seeded, card=card))
    loaded = load_model(tmp_path / "rain.safetensors")
    result = Cage(classifier_of(loaded), noise(12, -60)).result()
    assert (result.ok, result.label, result.score) == (True, None, None)
    assert loaded.golden is not None
    other = loaded.golden._replace(scores=loaded.golden.scores * 0.5)
    cage = Cage(classifier_of(replace(loaded, golden=other)), noise(12, -60))
    assert not cage.result().ok
    assert cage.health() == [("street", "raised")]


@pytest.mark.parametrize(
    "text",
    ["canary: {every_seconds: null}", "sources: [{name: a, input: 'demo:'}]"],
)
def test_there_is_none_where_it_is_not_wanted_or_nothing_is_live(
    sound_one: Classifier, text: str
) -> None:
    config = parse_config(text, "config.yaml")
    desk, clock = HealthReports(), FakeClock()
    assert build_canary(config, sound_one, AudioHistory(), desk, clock) is None


def test_a_reload_builds_it_anew_where_what_it_tries_has_changed(
    sound_one: Classifier, model: TrainedModel, tmp_path: Path
) -> None:
    clock = FakeClock()

    def around(classifier: Classifier, more: str) -> ServiceContext:
        return ServiceContext(
            parse_config(LIVE + "status: {socket: s}\n" + more, "config.yaml"),
            labels=classifier.labels,
            sample_rate=RATE,
            clock=clock,
            past=AudioHistory(),
            state_dir=tmp_path,
            environ={},
            classifier=classifier,
        )

    running = build_services(around(sound_one, ""))
    canary = running["canary"]
    for classifier, more in (
        (sound_one, "detection: {labels: {siren: {onset_threshold: 0.8}}}"),
        (sound_one, "canary: {every_seconds: 600}"),
        (classifier_of(model), ""),
    ):
        after = build_services(around(classifier, more), running)
        assert after["canary"] is not canary
    after = build_services(around(sound_one, "heartbeat: {method: POST}"), running)
    assert after["canary"] is canary
    after = build_services(around(sound_one, "canary: {every_seconds: null}"), running)
    assert "canary" not in after


def test_what_it_raised_is_over_when_it_is_closed(sound_one: Classifier) -> None:
    rule = "detection: {labels: {siren: {onset_threshold: 0.9999}}}"
    cage = Cage(sound_one, noise(12, -60), rule)
    cage.result()
    assert cage.health() == [("street", "raised")]
    cage.canary.close()
    assert cage.health() == [("street", "cleared")]


def test_every_sound_that_may_be_asked_for_can_be_made() -> None:
    assert get_args(CanaryLabel) == LABELS
    for label in LABELS:
        sound = render_song(Song(label, 3.0), 16_000, RATE)
        assert sound.size == 3 * RATE
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(1.0, abs=0.1)


def test_the_mixture_does_not_clip_and_the_sound_stands_out() -> None:
    song = render_song(Song("siren", 3.0), RATE, RATE)
    for dbfs in (-90, -60, -30, 0):
        captured = noise(10, dbfs, channels=2)
        before = captured.copy()
        mixture = mix(
            song, captured, lead=RATE, tail=RATE, gate_dbfs=-70, model_rate=RATE
        )
        assert np.abs(mixture.samples).max() < 1
        sounding = mixture.samples[:, RATE : RATE + song.size]
        rest = mixture.samples[:, :RATE]
        assert 10 * np.log10(np.mean(sounding**2) / np.mean(rest**2)) > 25
        assert np.array_equal(captured, before)
    # A gate that only the loudest sound can pass.
    mixture = mix(
        song, noise(10, -60), lead=RATE, tail=RATE, gate_dbfs=-3, model_rate=RATE
    )
    assert 0.9 < np.abs(mixture.samples).max() < 1
