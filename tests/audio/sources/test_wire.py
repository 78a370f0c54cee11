"""The pipe of the capture child carries blocks, and the losses between them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.sources.wire import (
    PipeBlock,
    PipeHeader,
    PipeParser,
    encode_block,
)

HEADER = PipeHeader(sample_rate=48_000, channels=2)


@given(
    blocks=st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 20))),
    size=st.integers(1, 40),
)
def test_blocks_are_read_as_written_wherever_the_pipe_is_cut(
    blocks: list[tuple[int, int]], size: int
) -> None:
    written = [PipeBlock(lost, bytes(range(8)) * count) for lost, count in blocks]
    stream = HEADER.encode()
    stream += b"".join(encode_block(block.lost, block.data, 2) for block in written)
    parser = PipeParser()
    read = []
    for start in range(0, len(stream), size):
        read += parser.push(stream[start : start + size])
    assert parser.header == HEADER
    assert read == written


@pytest.mark.parametrize(
    "noise",
    [
        b"x" * 12,
        b"RIFF" + HEADER.encode()[4:],
        PipeHeader(0, 1).encode(),
        PipeHeader(2_000_000, 1).encode(),
        PipeHeader(48_000, 0).encode(),
        PipeHeader(48_000, 100_000).encode(),
        HEADER.encode() + struct.pack("=II", 2**32 - 1, 0),
        HEADER.encode() + struct.pack("=II", 1, 2**32 - 1),
    ],
)
def test_another_stream_is_not_taken_for_samples(noise: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a header|not a block"):
        PipeParser().push(noise)


def test_a_block_says_how_many_samples_it_holds() -> None:
    assert encode_block(7, bytes(16), 2) == struct.pack("=II", 2, 7) + bytes(16)
