"""Bytes become the samples that they stand for, wherever they are cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.sources.pcm import Encoding, PcmDecoder, PcmFormat
from tests.support.wav_bytes import ENCODINGS, encode

VALUES = [0.0, 0.5, -0.5, -1.0, 0.25, 0.75, -0.125, 127 / 128]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_values_that_were_encoded(encoding: Encoding) -> None:
    decoder = PcmDecoder(PcmFormat(44_100, 1, encoding))
    samples = decoder.push(encode(VALUES, encoding))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [VALUES])


def test_channels_are_told_apart() -> None:
    decoder = PcmDecoder(PcmFormat(44_100, 3, "s16le"))
    samples = decoder.push(encode([0.1, 0.2, 0.3, -0.1, -0.2, -0.3], "s16le"))
    np.testing.assert_allclose(
        samples, [[0.1, -0.1], [0.2, -0.2], [0.3, -0.3]], atol=2e-5
    )


@given(
    encoding=st.sampled_from(ENCODINGS),
    channels=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 200)),
)
def test_bytes_may_be_cut_within_a_sample(
    encoding: Encoding, channels: int, cuts: list[int]
) -> None:
    pcm_format = PcmFormat(44_100, channels, encoding)
    data = encode(np.linspace(-1, 0.9, 8 * channels), encoding)
    data += b"\x01" * (pcm_format.frame_bytes - 1)  # the beginning of one more
    whole = PcmDecoder(pcm_format).push(data)
    assert whole.shape == (channels, 8)
    decoder = PcmDecoder(pcm_format)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [decoder.push(data[start:stop]) for start, stop in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_too_large_a_double_becomes_infinite_without_a_warning() -> None:
    decoder = PcmDecoder(PcmFormat(44_100, 1, "f64le"))
    assert np.isinf(decoder.push(encode([1e300], "f64le"))).all()
