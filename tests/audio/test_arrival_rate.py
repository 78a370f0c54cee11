"""A stream that comes at another rate than it states is noticed, and no other one."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from monitor.audio.arrival_rate import ArrivalRate
from monitor.config.audio import SourceSettings
from monitor.errors import SourceError
from tests.support.captures import RATE, run_capture
from tests.support.scripted_source import Burst, Overflow, Silence, Steady

STATED = 44_100


def measured(rate: float, blocks: Iterable[tuple[float, float]]) -> set[int | None]:
    """What is measured when blocks of so many seconds come at those times."""
    watch = ArrivalRate(STATED)
    return {watch.push(round(seconds * rate), now) for seconds, now in blocks}


def steady(seconds: float, block: float = 0.02) -> Iterator[tuple[float, float]]:
    for number in range(round(seconds / block)):
        yield block, (number + 1) * block


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000, 88_200])
@pytest.mark.parametrize("block", [0.02, 0.5])
def test_another_rate_is_measured_within_a_quarter_of_a_minute(
    rate: int, block: float
) -> None:
    found = measured(rate, steady(15, block)) - {None}
    assert found == {round(rate, -2)}


@pytest.mark.parametrize("rate", [44_100, 43_000, 45_000])
def test_the_error_of_a_clock_is_not(rate: int) -> None:
    assert measured(rate, steady(60)) == {None}


def test_samples_that_are_held_up_are_not() -> None:
    """A network that delivers in bursts."""
    generator = np.random.default_rng(1)
    came, blocks = 0.0, []
    for seconds, now in steady(600):
        came = max(came, now + float(generator.exponential(0.3)))
        blocks.append((seconds, came))
    assert measured(STATED, blocks) == {None}


@pytest.mark.parametrize("input_", ["udp:5004", "command:record", "mic:default"])
def test_it_is_said_once_of_a_source_whose_rate_is_set(
    input_: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = SourceSettings(name="street", input=input_)
    half = [Steady(0.05), Silence(0.05)] * 200
    captured = run_capture([half], settings=settings)
    sentence = f"{RATE} Hz, but 4000 samples a second arrive"
    is_set = input_ != "mic:default"
    assert sum(sentence in it for it in caplog.messages) == is_set
    assert sum(sentence in detail for _, detail in captured.states) == is_set


def test_it_is_shown_again_when_the_source_is_reopened(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = SourceSettings(name="street", input="udp:5004")
    half = [Steady(0.05), Silence(0.05)] * 200
    captured = run_capture([[*half, SourceError("gone")], half], settings=settings)
    sentence = "but 4000 samples a second arrive"
    assert sum(sentence in it for it in caplog.messages) == 1
    assert sum(sentence in detail for _, detail in captured.states) == 2


def test_a_source_three_times_too_fast_is_shown_as_held_back_in_each_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = SourceSettings(name="street", input="udp:5004")
    fast = [Steady(0.05), Burst(0.1)] * 400
    lives = [[*fast, SourceError("gone")], fast]
    captured = run_capture(lives, settings=settings, ring_seconds=10.0)
    sentence = "delivers more than real time and is held back"
    assert sum("is held back" in it for it in caplog.messages) == 1
    assert sum(sentence in detail for _, detail in captured.states) == 2


def test_losses_that_are_reported_count_as_samples(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = SourceSettings(name="street", input="udp:5004")
    run_capture([[Steady(0.1), Overflow(0.1)] * 100], settings=settings)
    assert not any("samples a second arrive" in it for it in caplog.messages)
