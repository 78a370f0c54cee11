"""The extent of a file follows from the lengths in its container."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.sources.containers import Extent, extent_of
from tests.support.wav_bytes import chunk, wav

FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG 1, layer 3, 128 kbit/s, 44.1 kHz
ID3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)


def extent(data: bytes, heard: int | None = None) -> Extent:
    def read(position: int, count: int) -> bytes:
        assert count <= 1 << 20
        return data[position : position + count]

    return extent_of(read, len(data), heard)


def xing(frames: int) -> bytes:
    tag = b"Xing\0\0\0\1" + struct.pack(">I", frames)
    return FRAME[:36] + tag + FRAME[36 + len(tag) :]


def page(flags: int, serial: int = 7, body: bytes = b"sound") -> bytes:
    head = b"OggS\0" + bytes([flags]) + bytes(8) + struct.pack("<I", serial) + bytes(8)
    return head + bytes([1, len(body)]) + body


BEGIN, MIDDLE, END = page(2), page(0), page(4)
SOUND = bytes(range(1, 101))
WAV = wav(SOUND)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (WAV, "whole"),
        (WAV[:-1], "cut off"),
        (WAV + WAV, "joined"),
        (WAV + chunk(b"id3 ", bytes(100_000)), "whole"),
        (WAV + chunk(b"LIST", b"INFO") + WAV, "joined"),
        (WAV + b"TAG" + bytes(125), "whole"),
        (WAV + bytes(100_000), "whole"),  # padding
        (WAV + SOUND * 1_000, "joined"),  # a header that was not brought up to date
        (wav(SOUND[:99])[:-1], "whole"),  # without the byte that pads it
        (wav(SOUND[:99])[:-1] + WAV, "joined"),
        (wav(SOUND, length=0), "unknown"),
        (wav(SOUND, length=0xFFFF_FFFF), "unknown"),
        (wav(SOUND, before=[chunk(b"LIST", b"INFOabc")]), "whole"),
        (b"", "unknown"),
        (WAV[:20], "unknown"),
        (b"some text that is no sound", "unknown"),
    ],
)
def test_of_wav(data: bytes, expected: Extent) -> None:
    assert extent(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (BEGIN + MIDDLE + END, "whole"),
        (BEGIN + MIDDLE, "cut off"),
        ((BEGIN + MIDDLE + END)[:-1], "cut off"),
        ((BEGIN + MIDDLE + END) * 2, "joined"),
        (BEGIN + MIDDLE + BEGIN + MIDDLE + END, "joined"),  # the first was cut off
        (BEGIN + page(2, 8) + MIDDLE + page(4, 8) + END, "whole"),  # two at a time
        (BEGIN + b"damage" + MIDDLE + END, "whole"),
        (BEGIN + MIDDLE + END + b"TAG", "whole"),
    ],
)
def test_of_ogg(data: bytes, expected: Extent) -> None:
    assert extent(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (xing(10) + FRAME * 10, "whole"),
        (ID3 + xing(10) + FRAME * 10 + b"TAG" + bytes(125), "whole"),
        (xing(11) + FRAME * 10, "whole"),  # counts itself
        (xing(10) + FRAME * 8, "cut off"),
        (xing(10) + FRAME * 9 + FRAME[:50], "cut off"),
        ((xing(10) + FRAME * 10) * 2, "joined"),
        ((ID3 + xing(10) + FRAME * 10) * 2, "joined"),
        (xing(10) + FRAME * 20, "joined"),
        (xing(10) + FRAME * 5 + b"damage" + FRAME * 5, "whole"),
        (xing(10) + FRAME * 10 + b"APETAGEX" * 9_999 + xing(10) + FRAME * 10, "joined"),
        (FRAME * 10, "unknown"),
        (FRAME * 10 + FRAME[:100], "cut off"),
    ],
)
def test_of_mp3(data: bytes, expected: Extent) -> None:
    assert extent(data) == expected


@pytest.mark.parametrize(
    ("heard", "expected"), [(10 * 1152, "unknown"), (5 * 1152, "joined")]
)
def test_an_mp3_of_which_too_little_was_heard_goes_on(
    heard: int, expected: Extent
) -> None:
    assert extent(FRAME * 10, heard) == expected


@pytest.mark.parametrize("size", [2**32 - 1, 2**63, 2**64 - 1])
def test_a_length_beyond_any_file_is_no_position_to_read(size: int) -> None:
    w64 = b"riff" + bytes(36) + b"data" + bytes(12) + struct.pack("<Q", size)
    caf = b"caff\0\1\0\0data" + struct.pack(">Q", size)
    for data in (w64, caf):
        assert extent(data + SOUND) in ("cut off", "unknown")


@given(
    data=st.sampled_from(
        [WAV * 2, BEGIN + MIDDLE + END, ID3 + xing(3) + FRAME * 3, b"fLaC" + SOUND]
    ),
    changes=st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=9)), max_size=5),
    stop=st.integers(0, 2_000),
)
def test_damage_anywhere_has_an_extent_too(
    data: bytes, changes: list[tuple[int, bytes]], stop: int
) -> None:
    for position, content in changes:
        data = data[:position] + content + data[position + len(content) :]
    assert extent(data[:stop]) in ("whole", "cut off", "joined", "unknown")


def test_an_ogg_that_is_cut_anywhere_has_an_end() -> None:
    whole = BEGIN + MIDDLE + END
    for stop in range(4, len(whole)):
        assert extent(whole[:stop]) in ("cut off", "unknown")
