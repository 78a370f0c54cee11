"""The presets: shapes, cost and what activity means."""

import pytest
import torch
from torch import Tensor, nn

from monitor.errors import UsageError
from monitor.model.networks import (
    PRESETS,
    build_network,
    count_parameters_and_macs,
    with_background,
)
from monitor.model.networks.article import article
from monitor.model.networks.base import Network, Normalise, average
from monitor.model.networks.mn04 import mn04
from monitor.model.networks.mobile import mobile
from monitor.spec import ModelSpec
from tests.support.models import HOP_STRIDES, SPECS, WITH_BACKGROUND

SPEC = ModelSpec()


def windows(batch: int, seed: int = 0, spec: ModelSpec = SPEC) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, spec.channels, spec.n_mels, spec.window_frames)
    return torch.randn(shape, generator=generator) * 15 - 50


def test_article_has_the_shapes_of_the_article():
    network = article(SPEC, 10).eval()
    batch = windows(16)
    assert batch.shape == (16, 2, 64, 344)
    maps = network.blocks(network.normalise(batch))
    assert maps.shape == (16, 64, 4, 22)
    assert network.embed(network.columns(batch)).shape == (16, 64)
    output = network(batch)
    assert output.logits.shape == (16, 10)
    assert output.activity.shape == (16, 10, 22)


def test_article_costs_what_the_article_says():
    cost = count_parameters_and_macs(article(SPEC, 10), SPEC)
    assert cost.parameters == 25_602
    convolutions = [
        (2 * 25 * 8, 32 * 172),
        (8 * 9 * 16, 16 * 86),
        (16 * 9 * 32, 8 * 43),
        (32 * 9 * 64, 4 * 22),
    ]
    heads = 64 * 10 * (1 + 22)
    assert cost.macs == sum(size * places for size, places in convolutions) + heads


def test_mobile_has_the_shapes_and_the_cost_of_its_docstring():
    network = mobile(SPEC, 10).eval()
    batch = windows(16)
    with torch.no_grad():
        assert network.blocks(network.normalise(batch)).shape == (16, 384, 4, 22)
        assert network.embed(network.columns(batch)).shape == (16, 384)
        output = network(batch)
    assert output.logits.shape == (16, 10)
    assert output.activity.shape == (16, 10, 22)
    cost = count_parameters_and_macs(network, SPEC)
    assert cost == (490_662, 48_451_776)


def test_mn04_has_the_shapes_and_the_cost_of_its_docstring():
    spec = SPECS["mn04"]
    network = mn04(spec, 527).eval()
    batch = windows(16, spec=spec)
    assert batch.shape == (16, 1, 128, 384)
    with torch.no_grad():
        assert network.blocks(network.normalise(batch)).shape == (16, 384, 4, 12)
        assert network.embed(network.columns(batch)).shape == (16, 384)
        output = network(batch)
    assert output.logits.shape == (16, 527)
    assert output.activity.shape == (16, 527, 12)
    assert count_parameters_and_macs(network, spec).parameters == 978_679


def test_mn04_takes_the_bands_of_its_teacher_only():
    with pytest.raises(UsageError, match=r"n_mels: .* takes 128 bands, not 64"):
        mn04(SPEC, 10)


def test_with_a_background_mobile_has_a_larger_head_and_no_peak():
    network = mobile(WITH_BACKGROUND, 10).eval()
    columns = network.columns(windows(2))
    views = network.views(columns)
    assert views.embedding.shape == views.recent.shape == (2, 384)
    assert torch.allclose(views.recent, columns[..., -6:].mean(dim=2), atol=1e-6)
    output = network.score_columns(columns)
    assert output.activity.shape == (2, 10, 22)
    # Without a background nothing changed.
    assert torch.equal(output.logits, network.compare(views, views.embedding))
    cost = count_parameters_and_macs(network, WITH_BACKGROUND)
    assert cost == (597_350, 48_566_848)


def test_a_background_head_begins_as_a_trained_one():
    trained = build_network("mobile", SPEC, 5).eval()
    torch.nn.init.normal_(trained.head[1].output.weight)
    torch.nn.init.normal_(trained.head[1].output.bias)
    before = {name: it.clone() for name, it in trained.state_dict().items()}
    network = with_background(trained, WITH_BACKGROUND)
    assert not network.training
    batch = windows(3)
    with torch.no_grad():
        columns = trained.columns(batch)
        expected = trained.head(trained.embed(columns))
        views = network.views(network.columns(batch))
        found = network.compare(views, torch.randn(3, 384))
        assert torch.allclose(found, expected, atol=1e-6)
        assert torch.equal(network.activity(columns), trained.activity(columns))
    for name, weight in trained.state_dict().items():
        assert torch.equal(weight, before[name])
    # Each hidden unit can learn.
    network.head(torch.cat([*views, views.recent], 1)).sum().backward()
    assert network.head[1].output.weight.grad.ne(0).any(dim=0).all()


def test_a_network_that_takes_no_background_is_named_with_one_that_does():
    with pytest.raises(UsageError, match=r"background: .* article takes none; .*mob"):
        build_network("article", WITH_BACKGROUND, 10)


def test_mobile_takes_no_more_bands_than_its_trunk_knows():
    with pytest.raises(UsageError, match=r"n_mels: .*at most 128 bands, not 129"):
        mobile(ModelSpec(n_mels=129, n_fft=8192), 10)


@pytest.mark.parametrize("preset", PRESETS)
def test_columns_stand_for_total_stride_frames_and_hops_are_allowed(preset: str):
    spec = SPECS[preset]
    network = build_network(preset, spec, 3).eval()
    columns = network(windows(1, spec=spec)).activity.shape[-1]
    assert columns == -(-spec.window_frames // network.total_stride)
    assert 48 % HOP_STRIDES.get(preset, network.total_stride) == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_column_k_is_centred_on_frame_k_times_the_total_stride(preset: str):
    """No convolution moves it: each is padded by half of its kernel."""
    network = build_network(preset, SPECS[preset], 3)
    total_stride = 1
    for layer in network.blocks.modules():
        if isinstance(layer, nn.Conv2d):
            reach = layer.dilation[1] * (layer.kernel_size[1] - 1)
            assert layer.padding[1] == reach / 2
            total_stride *= layer.stride[1]
    assert total_stride == network.total_stride


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("level_db", [-100.0, 100.0, 700.0])
def test_absurd_levels_still_give_numbers(preset: str, level_db: float):
    spec = SPECS[preset]
    network = build_network(preset, spec, 3).eval()
    output = network(torch.full_like(windows(1, spec=spec), level_db))
    assert output.logits.isfinite().all()
    assert output.activity.isfinite().all()


def test_the_logits_of_an_average_are_the_average_of_the_activity():
    output = article(SPEC, 10).eval()(windows(4))
    assert torch.allclose(output.logits, output.activity.mean(dim=2), atol=1e-5)


def test_other_pools_and_a_head_for_columns_fit():
    def mean_and_maximum(columns: Tensor) -> Tensor:
        return (columns.mean(dim=2) + columns.amax(dim=2)) / 2

    network = Network(
        Normalise(SPEC.n_mels),
        nn.Conv2d(2, 8, 3, stride=4, padding=1),
        mean_and_maximum,
        nn.Linear(8, 5),
        total_stride=4,
        column_head=nn.Linear(8, 5),
    )
    output = network(windows(2))
    assert output.logits.shape == (2, 5)
    assert output.activity.shape == (2, 5, 86)


def test_normalising_does_not_depend_on_the_window():
    normalise = Normalise(SPEC.n_mels)
    normalise.mean.fill_(-50.0)
    normalise.deviation.fill_(15.0)
    quiet, loud = torch.full((1, 2, 64, 3), -80.0), torch.full((1, 2, 64, 3), -80.0)
    loud[..., 2] = 0.0
    assert torch.equal(normalise(quiet)[..., :2], normalise(loud)[..., :2])


def test_an_unknown_preset_is_named_with_those_that_exist():
    with pytest.raises(UsageError, match=r"'arcticle' is not a network.*article"):
        build_network("arcticle", SPEC, 10)


def network_of(share: float) -> Network:
    """A network whose columns are the frames, and whose logit is their level."""
    head, column_head = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, bias in ((head, 0.0), (column_head, 1.0)):
        nn.init.ones_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    made = Network(Normalise(1), nn.Identity(), average, head, 1, column_head, share)
    return made.eval()


def test_a_short_sound_counts_by_its_highest_column() -> None:
    window = torch.zeros(1, 1, 1, 10)
    window[..., 7] = 5
    with torch.inference_mode():
        mean, peak = 0.5, 6.0
        for share in (0.0, 0.25, 1.0):
            logits = network_of(share)(window).logits
            assert torch.allclose(
                logits, torch.tensor((1 - share) * mean + share * peak)
            )
