"""Packets bring no more sound, and take no more memory, than those of a microphone."""

import struct

import numpy as np
import pytest

from monitor.audio.sources.rtp import OTHER_LENGTH, PacketReader, Rejected
from tests.audio.sources.test_rtp import COUNT, HOST, RATE, Listener, packet, sent


@pytest.mark.parametrize("every", [400, 25])
def test_a_packet_far_longer_than_those_of_the_sender_is_not_heard(every: int) -> None:
    """It would bring more sound than time has passed, and hold the source back."""
    listener = Listener()
    for place, data in enumerate(sent(range(1000))):
        if place and place % every == 0:
            forged = packet(place * COUNT, place, payload=bytes(8000))
            listener.push(forged, seconds=0.0)
        listener.push(data)
    assert listener.drawing == "#" * 1000
    assert set(listener.said) == {OTHER_LENGTH}


def test_nor_is_it_heard_after_a_pause() -> None:
    listener = Listener().push_all(sent(range(100)))
    listener.push(packet(100 * COUNT, 100, payload=bytes(8000)), seconds=2.0)
    assert listener.drawing == "#" * 100


def test_a_sender_may_choose_another_length_after_a_second() -> None:
    listener = Listener().push_all(sent(range(100)))
    payload, first = struct.pack(f">{5 * COUNT}h", *[1] * 5 * COUNT), 100 * COUNT
    for it in range(40):
        data = packet(first + it * 5 * COUNT, 100 + it, payload=payload)
        listener.push(data, seconds=0.05)
    assert len(listener.drawing) == pytest.approx(300, abs=1)
    assert listener.drawing.endswith("#" * 90)


def test_forged_packets_take_little_memory() -> None:
    reader = PacketReader(RATE, 1)
    for ssrc in range(200):
        for number in range(12):  # of a timestamp that does not count the samples
            data = packet(number, number, ssrc=ssrc, payload=bytes(8180))
            assert isinstance(reader.push(data, HOST, 0.0), (list, Rejected))
    for number in range(40):
        reader.push(packet(number, number, ssrc=201, payload=bytes(2000)), HOST, 0.0)
    assert len(reader._candidates[-1].packets) == 8
    for number in range(1000):
        reader.push(packet(2 * number, number, payload=bytes(2)), HOST, 0.0)
    runs = reader._candidates
    waiting = [it.samples.nbytes for run in runs for it in run.packets.values()]
    assert len(runs) == 64
    assert max(len(run.packets) for run in runs) == 256
    assert 2**22 < sum(waiting) < 2**23


def test_a_packet_is_at_most_8192_bytes_long() -> None:
    reader = PacketReader(RATE, 1)
    assert reader.push(packet(0, payload=bytes(8180)), HOST, 0.0) == []
    found = reader.push(packet(0, payload=bytes(8182)), HOST, 0.0)
    assert found == Rejected("are larger than 8192 bytes")


@pytest.mark.parametrize(
    ("flags", "before", "behind"),
    [
        (0x20, b"", b"\1"),  # padding
        (0x20, b"", b"abc\4"),
        (0x10, b"\xbe\xde\0\0", b""),  # an extension of the header
        (0x10, b"\xbe\xde\0\2abcdefgh", b""),
        (0x02, b"abcdefgh", b""),  # two contributing sources
        (0x31, b"abcd\xbe\xde\0\1abcd", b"ab\3"),
    ],
)
def test_only_the_samples_of_a_packet_are_heard(
    flags: int, before: bytes, behind: bytes
) -> None:
    packets = [
        bytes([it[0] | flags]) + it[1:12] + before + it[12:] + behind
        for it in sent(range(30))
    ]
    samples = np.concatenate(Listener().push_all(packets).heard, axis=1)[0]
    np.testing.assert_array_equal(samples * 2**15, np.arange(30 * COUNT))
