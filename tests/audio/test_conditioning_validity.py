"""What is not sound is taken out, in its place and to the sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.conditioning import ValidityGate
from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from tests.support.signals import cut, numbered

RATE = 20  # half a second is ten samples
QUARANTINE = 10
INVALID = [float("nan"), float("inf"), float("-inf"), 100.1, -1e30]

Drawing = str


def drawn(parts: list[Samples | Lost]) -> Drawing:
    """One letter for each sample: `-` sound, `#` lost."""
    return "".join(
        "#" * part.count if isinstance(part, Lost) else "-" * part.shape[1]
        for part in parts
    )


def stream_of(drawing: Drawing, value: float, channels: int = 1) -> Samples:
    """Samples that count, up to 1, with `value` where an `x` is drawn."""
    samples = numbered(0, len(drawing), channels) / max(len(drawing), 1)
    samples[-1, [letter == "x" for letter in drawing]] = value
    return samples


@pytest.mark.parametrize("value", INVALID)
@pytest.mark.parametrize(
    ("samples", "parts"),
    [
        ("......", "------"),
        ("...x....................", "---###########----------"),
        ("x", "#"),
        ("...x....x...............", "---################-----"),
        ("...x..........x.........", "---#####################"),
        ("...x...........x........", "---###########-#########"),
        ("..x..........x............", "--###########" + "###########--"),
        ("x...........x...........", "###########-###########-"),
    ],
)
def test_an_invalid_sample_is_lost_with_what_follows_too_soon(
    samples: Drawing, parts: Drawing, value: float
) -> None:
    assert drawn(ValidityGate(RATE).push(stream_of(samples, value))) == parts


def test_one_invalid_channel_is_enough() -> None:
    assert drawn(ValidityGate(RATE).push(stream_of("..x", np.nan, 2))) == "--#"


def test_the_loudest_sound_passes() -> None:
    block = np.full((1, 5), 99.9, np.float32)
    assert drawn(ValidityGate(RATE).push(block)) == "-----"


@given(
    drawing=st.text("...........x", max_size=80),
    sizes=st.lists(st.integers(0, 30)),
    value=st.sampled_from(INVALID),
)
def test_block_sizes_do_not_matter_and_no_sample_is_missing(
    drawing: Drawing, sizes: list[int], value: float
) -> None:
    samples = stream_of(drawing, value, 2)
    whole = drawn(ValidityGate(RATE).push(samples))
    assert len(whole) == len(drawing)
    gate = ValidityGate(RATE)
    parts = [part for block in cut(samples, sizes) for part in gate.push(block)]
    assert drawn(parts) == whole
    kept = [part for part in parts if not isinstance(part, Lost)]
    expected = samples[:, [letter == "-" for letter in whole]]
    np.testing.assert_array_equal(np.concatenate([samples[:, :0], *kept], 1), expected)
    for index, letter in enumerate(whole):
        recent = drawing[max(0, index - QUARANTINE) : index + 1]
        assert (letter == "#") == ("x" in recent)
