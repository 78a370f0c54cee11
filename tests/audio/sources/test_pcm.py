"""Bytes become samples: raw PCM, and WAV as programs write it, cut anywhere."""

import io
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.ring import Samples
from monitor.audio.sources.pcm import Encoding, PcmDecoder, PcmFormat, WavOrRawDecoder
from monitor.errors import SourceError
from tests.support.wav_bytes import ENCODINGS, chunk, encode, wav

VALUES = [0.0, 0.5, -0.5, -1.0, 0.25, 0.75, -0.125, 127 / 128]
RAW = PcmFormat(8_000, 2, "s16le")
NOTES = chunk(b"LIST", b"INFOISFT odd")
ODD_NOTES = chunk(b"id3 ", b"x" * 301)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_values_that_were_encoded(encoding: Encoding) -> None:
    decoder = PcmDecoder(PcmFormat(44_100, 1, encoding))
    samples = decoder.push(encode(VALUES, encoding))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [VALUES])


def test_channels_are_separated() -> None:
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


def decoded(
    data: bytes, sizes: int = 10**9, raw: PcmFormat = RAW
) -> list[tuple[PcmFormat, Samples]]:
    """Decode a stream that is pushed `sizes` bytes at a time; join equal formats."""
    decoder = WavOrRawDecoder(raw)
    blocks: list[tuple[PcmFormat, Samples]] = []
    for start in range(0, len(data), sizes):
        for pcm_format, samples in decoder.push(data[start : start + sizes]):
            before = []
            if blocks and blocks[-1][0] == pcm_format:
                before = [blocks.pop()[1]]
            blocks.append((pcm_format, np.concatenate([*before, samples], axis=1)))
    return blocks


def decode(data: bytes, sizes: int = 10**9) -> tuple[PcmFormat, list[float]]:
    """Decode a mono stream of one format."""
    ((pcm_format, samples),) = decoded(data, sizes)
    return pcm_format, samples[0].tolist()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_the_header_gives_the_format(
    encoding: str, extensible: bool, size: int
) -> None:
    data = wav(
        encode(VALUES, encoding), rate=48_000, encoding=encoding, extensible=extensible
    )
    assert decode(data, size) == (PcmFormat(48_000, 1, encoding), VALUES)


@pytest.mark.parametrize("length", [0, 0x7FFF_0000, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_an_unknown_length_means_until_the_end(length: int) -> None:
    data = wav(encode(VALUES, "s16le"), length=length)
    assert decode(data)[1] == VALUES


@pytest.mark.parametrize("size", [1, 5, 10**6])
def test_other_chunks_are_skipped_before_and_after_the_samples(size: int) -> None:
    data = wav(encode(VALUES, "s16le"), before=[NOTES, ODD_NOTES], after=NOTES)
    assert decode(data, size)[1] == VALUES


@pytest.mark.parametrize("size", [1, 5, 10**6])
def test_a_new_header_after_the_stated_length_is_not_samples(size: int) -> None:
    """As arecord does it after two gigabytes."""
    once = wav(encode(VALUES, "s16le"))
    assert decode(once * 3, size)[1] == VALUES * 3


@pytest.mark.parametrize("size", [1, 5, 10**6])
@pytest.mark.parametrize("length", [0, 1000, 0x8000_0000])
def test_a_new_header_before_the_stated_length_is_not_samples_either(
    length: int, size: int
) -> None:
    """The length is unknown, or the file was cut off."""
    data = wav(encode([0.5, 0.25], "s16le"), length=length)
    data += wav(encode([0.75], "s16le"))
    assert decode(data, size)[1] == [0.5, 0.25, 0.75]


def test_samples_that_resemble_a_header_are_samples() -> None:
    begun = wav(encode(VALUES, "s16le") + b"RIFFRIFF1234WAVXRF64")
    for size in (1, 7, 10**6):
        assert len(decode(begun, size)[1]) == len(VALUES) + 10


AFTER_SAMPLES = {
    "notes": NOTES,
    "odd-notes": ODD_NOTES,
    "several": NOTES + ODD_NOTES + NOTES,
    "id3v1": b"TAG" + b"title".ljust(125, b"\0"),
    "junk": bytes(range(256)) * 3,
    "text": b"Recording again...\n",
    "half a header": b"RIFF1234WAV",
    "another riff": b"RIFF\x04\0\0\0AVI ",
}


@pytest.mark.parametrize("size", [1, 5, 10**6])
@pytest.mark.parametrize("between", AFTER_SAMPLES)
def test_one_wav_follows_another_whatever_stands_between(
    between: str, size: int
) -> None:
    once = wav(encode(VALUES, "s16le"), after=AFTER_SAMPLES[between])
    assert decode(once * 3, size)[1] == VALUES * 3


@pytest.mark.parametrize("size", [7, 1000, 10**6])
def test_an_odd_number_of_bytes_is_padded_or_not(size: int) -> None:
    padded = wav(encode(VALUES[:7], "u8"), encoding="u8")
    bare = padded[:-1]
    picture = chunk(b"id3 ", bytes(100_000))  # longer than a second of samples
    stream = padded + padded + picture + bare + bare + picture + padded
    assert decode(stream, size)[1] == VALUES[:7] * 5


@pytest.mark.parametrize("size", [1, 5, 10**6])
def test_the_next_wav_may_have_another_format(size: int) -> None:
    mono = wav(encode(VALUES, "s16le"), after=NOTES)
    stereo = wav(encode(VALUES, "s24le"), rate=8_000, channels=2, encoding="s24le")
    (first, a), (second, b), (third, c) = decoded(mono + stereo + mono, size)
    assert (first, third) == (PcmFormat(44_100, 1, "s16le"),) * 2
    assert second == PcmFormat(8_000, 2, "s24le")
    assert a.tolist() == c.tolist() == [VALUES]
    assert b.tolist() == [VALUES[::2], VALUES[1::2]]


def test_samples_without_end_after_the_stated_length_are_an_error() -> None:
    """A header that is wrong: the rest is not dropped for ever."""
    data = wav(encode(VALUES, "s16le")) + encode([0.3, -0.3] * 44_100, "s16le")
    with pytest.raises(SourceError, match="after the samples that its WAV header"):
        decode(data, 4096)


def test_the_output_of_libsndfile_is_read() -> None:
    buffer = io.BytesIO()
    written = np.linspace(-0.9, 0.9, 50).reshape(25, 2)
    soundfile.write(buffer, written, 96_000, subtype="PCM_24", format="WAVEX")
    ((pcm_format, samples),) = decoded(buffer.getvalue())
    assert pcm_format == PcmFormat(96_000, 2, "s24le")
    np.testing.assert_allclose(samples, written.T, atol=1e-6)


@given(data=st.binary(max_size=200), size=st.integers(1, 50))
def test_a_stream_that_does_not_begin_like_wav_is_raw(data: bytes, size: int) -> None:
    data = b"raw!" + data
    ((_, samples),) = decoded(data, size)
    expected = np.frombuffer(data[: len(data) // 4 * 4], "<i2").reshape(-1, 2).T
    np.testing.assert_array_equal(samples, expected / 2**15)


def test_raw_samples_that_begin_like_riff_only_are_raw() -> None:
    data = b"RIFF1234NOWAVE.."
    ((_, samples),) = decoded(data)
    assert samples.shape == (2, 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wav(b"", rate=4_000), "4000 samples a second"),
        (wav(b"", channels=0), "0 channels"),
        (wav(b"").replace(b"\x01\x00\x01\x00", b"\x06\x00\x01\x00"), "format 6, 16"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "no format before"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "damaged"),
        (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff", "damaged"),  # skips for ever
        (b"fLaC\0\0\0\x22", "it writes FLAC, and only WAV"),
        (b"ID3\x04", "it writes MP3"),
        (b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff", "damaged"),  # never complete
        (wav(b"")[:32] + b"\x07" + wav(b"")[33:], "damaged"),  # bytes of a frame
    ],
)
def test_an_invalid_header_is_an_error_of_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        WavOrRawDecoder(RAW).push(data)


@given(st.binary(max_size=100), st.integers(0, 60))
def test_a_damaged_header_never_crashes(noise: bytes, keep: int) -> None:
    data = wav(encode(VALUES, "s16le"), before=[NOTES])[:keep] + noise
    with suppress(SourceError):
        decoded(data)


@pytest.mark.parametrize("size", [1, 1000, 2**18])
def test_a_long_chunk_before_the_samples_is_skipped_as_it_comes(size: int) -> None:
    """The picture of an album, say."""
    data = wav(encode(VALUES, "s16le"), before=[chunk(b"id3 ", bytes(300_001))])
    decoder = WavOrRawDecoder(RAW)
    values: list[float] = []
    for start in range(0, len(data), size):
        blocks = decoder.push(data[start : start + size])
        assert len(decoder._bytes) <= 300
        values += [value for _, samples in blocks for value in samples[0].tolist()]
    assert values == VALUES
