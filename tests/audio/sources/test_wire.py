"""The pipe of the capture child carries blocks, and what was lost between them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.sources.wire import (
    OverflowMeter,
    PipeBlock,
    PipeHeader,
    PipeParser,
    encode_block,
)

HEADER = PipeHeader(sample_rate=48_000, channels=2, device="Küche: USB (hw:1,0)")
RATE = 48_000
CALLBACK = 480  # samples
JITTER = 0.02  # seconds


@given(
    blocks=st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 20))),
    size=st.integers(1, 40),
)
def test_what_is_written_is_read_wherever_the_pipe_is_cut(
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
        b"x" * 20_000,
        b"[1]\n",
        b'{"a": 1}\n',
        b"\xff\n",
        b"[" * 9_000 + b"\n",
        b'{"sample_rate": 0, "channels": 1, "device": "x"}\n',
        b'{"sample_rate": 48000, "channels": -2, "device": "x"}\n',
        b'{"sample_rate": 48000, "channels": 1e9, "device": "x"}\n',
        b'{"sample_rate": 48000, "channels": 100000, "device": "x"}\n',
        b'{"sample_rate": 48000, "channels": 1, "device": "x", "more": 1}\n',
        HEADER.encode() + struct.pack("=II", 2**32 - 1, 0),
        HEADER.encode() + struct.pack("=II", 1, 2**32 - 1),
    ],
)
def test_another_stream_is_not_taken_for_sound(noise: bytes) -> None:
    with pytest.raises(ValueError, match=r"no header|no block|Expecting|codec"):
        PipeParser().push(noise)


def run_meter(
    delays: list[float], overflows: dict[int, int], speed: float = 1.0
) -> list[int]:
    """What a meter says of blocks that come `delays` late.

    `overflows` says how many samples were lost before which block; `speed` is that of
    the sound card's clock.
    """
    meter = OverflowMeter(RATE)
    position = 0
    found = []
    for index, delay in enumerate(delays):
        position += overflows.get(index, 0) + CALLBACK
        at = 5.0 + position / (RATE * speed) + delay
        found.append(meter.lost_before(CALLBACK, at, overflow=index in overflows))
    return found


@given(
    delays=st.lists(st.floats(0, JITTER), min_size=30, max_size=60),
    lost=st.dictionaries(st.integers(1, 29), st.integers(2_000, 500_000), max_size=3),
)
def test_an_overflow_is_measured_by_how_late_the_sound_has_become(
    delays: list[float], lost: dict[int, int]
) -> None:
    found = run_meter([0.0, *delays], lost)
    for index, count in enumerate(found):
        assert count == pytest.approx(lost.get(index, 0), abs=JITTER * RATE * 1.1)


def test_a_first_block_that_was_late_hides_no_loss() -> None:
    delays = [0.5, *[0.0] * 20]
    assert run_meter(delays, {10: 4_800})[10] == pytest.approx(4_800, abs=20)


@pytest.mark.parametrize("speed", [0.9995, 1.0005])
def test_a_clock_that_drifts_is_no_loss(speed: float) -> None:
    an_hour = 3600 * RATE // CALLBACK // 10
    found = run_meter([0.0] * an_hour, {an_hour - 1: 0}, speed)
    assert sum(found) <= 0.01 * RATE


def test_late_blocks_are_no_loss_unless_portaudio_says_so() -> None:
    assert run_meter([0.0, 0.5, 2.0, 0.0], {}) == [0, 0, 0, 0]


def test_a_block_says_how_many_samples_it_holds() -> None:
    assert encode_block(7, bytes(16), 2) == struct.pack("=II", 2, 7) + bytes(16)
