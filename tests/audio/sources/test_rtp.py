"""Packets are put in order, what is lost is counted, and what is no PCM is named."""

import os
import random
import struct
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.ring import Samples
from monitor.audio.sources.rtp import (
    NO_PCM,
    NO_RTP,
    OTHER_SENDER,
    PacketReader,
    Rejected,
)
from monitor.audio.sources.source import Lost
from tests.support.rtp import rtp_packet

RATE = 16_000
COUNT = 160
PACKET_SECONDS = COUNT / RATE
HOST = "10.0.0.9"

# Packets until a sender, or a leap of the time stamp, is followed: a tenth of a second.
PROBATION = 10


def packet(
    timestamp: int,
    sequence_number: int = 0,
    *,
    ssrc: int = 7,
    payload_type: int = 96,
    payload: bytes | None = None,
) -> bytes:
    """A packet of 160 samples, each of which is its number."""
    if payload is None:
        samples = [(timestamp + n) % 32_768 for n in range(COUNT)]
        payload = struct.pack(f">{COUNT}h", *samples)
    return rtp_packet(
        payload, timestamp, sequence_number, ssrc=ssrc, payload_type=payload_type
    )


class Listener:
    """Takes packets, one in 10 ms; `#` is a packet of samples, `-` one that is lost."""

    def __init__(self) -> None:
        self.reader = PacketReader(RATE, 1)
        self.now = 0.0
        self.drawing = ""
        self.heard: list[Samples] = []
        self.said: list[str] = []

    def push(self, data: bytes, host: str = HOST, seconds: float = 0.01) -> None:
        self.now += seconds
        found = self.reader.push(data, host, self.now)
        if isinstance(found, Rejected):
            self.said.append(found.reason)
            return
        for item in found:
            count = item.count if isinstance(item, Lost) else item.shape[1]
            self.drawing += ("-" if isinstance(item, Lost) else "#") * (count // COUNT)
            self.heard += [] if isinstance(item, Lost) else [item]

    def push_all(self, packets: Iterable[bytes]) -> "Listener":
        for data in packets:
            self.push(data)
        return self


def sent(places: Iterable[int], first: int = 0) -> list[bytes]:
    """Packets in these places of the stream, counted from `first`."""
    return [packet(first + place * COUNT, place) for place in places]


@pytest.mark.parametrize(
    ("places", "drawing"),
    [
        (range(30), "#" * 30),
        ([*range(10), *range(12, 30)], "#" * 10 + "--" + "#" * 18),
        ([*range(0, 60, 2), *range(59, 70)], "#" + "-#" * 29 + "#" * 11),
        ([*range(15), 16, 15, *range(17, 30)], "#" * 30),  # in the wrong order
        ([*range(15), 19, 18, 17, 16, 15, *range(20, 40)], "#" * 40),
        ([place for place in range(30) for _ in "ab"], "#" * 30),  # each twice
        ([place for place in range(30) for _ in "abc"], "#" * 30),
        # Four that come when they are given up do not end what is heard.
        (
            [*range(10), *range(14, 26), *range(10, 14), *range(26, 50)],
            "#" * 10 + "----" + "#" * 36,
        ),
        ([*range(30), *range(90_000, 90_020)], "#" * 50),  # the sender began anew
        ([*range(100), *range(80, 110)], "#" * 130),  # back by less than a second
        (range(65_520, 65_560), "#" * 40),  # their number overflows
    ],
)
def test_losses_are_counted_by_the_time_stamp(
    places: Sequence[int], drawing: str
) -> None:
    assert Listener().push_all(sent(places)).drawing == drawing


@pytest.mark.parametrize("lost", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("twice", [0.0, 0.02])
@pytest.mark.parametrize("late_seconds", [0.0, 0.03, 0.08])
def test_every_sample_is_in_its_place_whatever_the_network_does(
    lost: float, twice: float, late_seconds: float
) -> None:
    chance = random.Random(1)
    arrivals = [
        (place * PACKET_SECONDS + late_seconds * chance.random(), data)
        for place, data in enumerate(sent(range(1000)))
        if chance.random() >= lost
        for _ in range(1 + (chance.random() < twice))
    ]
    reader = PacketReader(RATE, 1)
    place: int | None = None
    heard = 0
    for now, data in sorted(arrivals):
        found = reader.push(data, HOST, now)
        assert not isinstance(found, Rejected)
        for item in found:
            if isinstance(item, Lost):
                assert place is not None
                place += item.count
                continue
            first = round(float(item[0, 0]) * 2**15)
            place = first if place is None else place
            assert first == place % 32_768
            place += item.shape[1]
            heard += 1
    assert heard >= len({data for _, data in arrivals}) - 2 * PROBATION


def test_the_time_stamp_may_overflow() -> None:
    places = [*range(20), *range(21, 40)]
    listener = Listener().push_all(sent(places, first=2**32 - 15 * COUNT))
    assert listener.drawing == "#" * 20 + "-" + "#" * 19


def test_a_sender_may_leave_out_the_numbers_of_its_packets() -> None:
    packets = [packet(place * COUNT) for place in [*range(20), *range(22, 40)]]
    assert Listener().push_all(packets).drawing == "#" * 20 + "--" + "#" * 18


@pytest.mark.parametrize("seconds", [9.9, 0.1, 0.015, 0.01, -0.5, -9.9])
@pytest.mark.parametrize("every", [400, 25])
def test_forged_packets_of_the_same_sender_make_nobody_deaf(
    seconds: float, every: int
) -> None:
    listener = Listener()
    for place, data in enumerate(sent(range(1000))):
        if place and place % every == 0:
            forged = place * COUNT + round(seconds * RATE)
            listener.push(packet(forged, place), seconds=0.0)
        listener.push(data)
    assert len(listener.drawing) == pytest.approx(1000, abs=1)
    assert listener.drawing.count("-") <= 1


@pytest.mark.parametrize("farthest", [500, RATE, 2**31])
@pytest.mark.parametrize("seed", range(5))
def test_however_many_are_forged_nobody_is_deaf_for_half_a_second(
    farthest: int, seed: int
) -> None:
    chance = random.Random(seed)
    listener = Listener()
    heard = heard_at = 0.0
    for place, data in enumerate(sent(range(1000))):
        if chance.random() < 0.3:
            stamp = place * COUNT + chance.randint(-farthest, farthest)
            payload = bytes(2 * chance.choice([1, 160, 700]))
            number = place + chance.choice([0, 1, chance.randrange(2**16)])
            listener.push(packet(stamp, number, payload=payload), seconds=0.0)
        if chance.random() > 0.02:
            listener.push(data)
        if len(listener.heard) > heard:
            heard, heard_at = len(listener.heard), listener.now
        assert listener.now - heard_at < 0.5


@pytest.mark.parametrize("leap", [900, 60, -60, -900])
def test_a_counter_that_leaps_is_followed_and_nothing_is_lost(leap: int) -> None:
    """The clock knows that no sound is missing."""
    before, after = sent(range(100)), sent(range(100 + leap, 200 + leap))
    assert Listener().push_all([*before, *after]).drawing == "#" * 200


def test_as_much_may_be_lost_as_the_clock_allows() -> None:
    listener = Listener().push_all(sent(range(100)))
    listener.now += 3.0
    listener.push_all(sent(range(400, 500)))
    assert listener.drawing == "#" * 100 + "-" * 300 + "#" * 100


def test_packets_that_were_held_up_show_what_is_lost_among_them() -> None:
    listener = Listener().push_all(sent(range(100)))
    listener.now += 3.0
    for data in sent([*range(100, 150), *range(350, 400)]):
        listener.push(data, seconds=0.0)
    assert listener.drawing == "#" * 150 + "-" * 200 + "#" * 50


@pytest.mark.parametrize("before", [0, 100])
def test_no_more_is_lost_than_the_clock_allows(before: int) -> None:
    """However the timestamps leap, the end of the sound is not in the future."""
    listener = Listener().push_all(sent(range(before)))
    leaping = range(before, before + 500)
    listener.push_all(packet(it * 90 * COUNT, it * 2) for it in leaping)
    assert len(listener.drawing) * PACKET_SECONDS < listener.now + 0.5
    assert listener.drawing.count("#") >= before + 50


@pytest.mark.parametrize("payload_type", [0, 10, 11, 33, 97])
def test_packets_of_another_form_among_those_of_a_sender_are_left_out(
    payload_type: int,
) -> None:
    """Stereo among mono would end the monitor."""
    packets = sent(range(40))
    packets[20] = packet(20 * COUNT, 20, payload_type=payload_type)
    assert Listener().push_all(packets).drawing == "#" * 20 + "-" + "#" * 19


def opus(count: int, first: int = 0) -> list[bytes]:
    """Packets of 20 ms, of 60 to 200 bytes."""
    sizes = random.Random(1)
    return [
        packet(place * 960, place, payload=os.urandom(sizes.randint(60, 200)))
        for place in range(first, first + count)
    ]


def test_a_codec_is_named_instead_of_being_heard_as_noise() -> None:
    listener = Listener().push_all(opus(50))
    assert listener.drawing == ""
    assert set(listener.said) == {NO_PCM}


def test_a_codec_of_which_packets_are_lost_is_not_heard_either() -> None:
    for seed in range(20):
        kept = random.Random(seed)
        packets = [data for data in opus(300) if kept.random() < 0.7]
        listener = Listener().push_all(packets)
        assert listener.drawing.count("#") < 5
        assert listener.said.count(NO_PCM) > 100


def test_a_sender_that_changes_to_a_codec_is_no_longer_heard() -> None:
    listener = Listener().push_all([*sent(range(50)), *opus(50, first=50)])
    assert listener.drawing == "#" * 50
    assert set(listener.said) == {NO_PCM}
    listener.push_all(sent(range(3000, 3030)))
    assert listener.drawing.replace("-", "") == "#" * 80


@pytest.mark.parametrize(
    ("bytes_", "reason"),
    [
        (4 * COUNT, "have 2 channels, not 1: set channels: 2"),
        (12 * COUNT, "have 6 channels, not 1: set channels: 6"),
        (COUNT, NO_PCM),  # of 8 bits
        (3 * COUNT, NO_PCM),  # of 24 bits
    ],
)
def test_time_stamps_tell_another_form(bytes_: int, reason: str) -> None:
    packets = [packet(it * COUNT, it, payload=bytes(bytes_)) for it in range(20)]
    listener = Listener().push_all(packets)
    assert (listener.drawing, set(listener.said)) == ("", {reason})


def test_only_one_sender_is_heard_at_a_time() -> None:
    listener = Listener()
    for place, data in enumerate(sent(range(100))):
        listener.push(data)
        listener.push(packet(place * COUNT, place, ssrc=8), "10.0.0.7", 0.0)
    assert listener.drawing == "#" * 100
    assert set(listener.said) == {OTHER_SENDER}


def test_another_sender_is_heard_when_the_first_is_silent() -> None:
    listener = Listener().push_all(sent(range(20)))
    listener.push_all(packet(it * COUNT, it, ssrc=8) for it in range(1000, 1200))
    taken_over = round(1.0 / PACKET_SECONDS) - 1
    assert len(listener.drawing) == 20 + 200 - taken_over
    assert listener.said == []  # the same device may have begun anew


def test_a_second_stream_of_the_same_host_is_named() -> None:
    listener = Listener()
    for place, data in enumerate(sent(range(300))):
        listener.push(data)
        listener.push(packet(place * COUNT, place, ssrc=8), seconds=0.0)
    assert set(listener.said) == {OTHER_SENDER}


def test_junk_before_a_sender_and_between_its_packets_does_not_delay_it() -> None:
    generator = np.random.default_rng(1)
    listener = Listener()
    for data in sent(range(PROBATION)):
        for _ in range(20):
            junk = b"\x80\x60" + generator.bytes(60)
            listener.push(junk, "10.0.0.7", 0.0)
            listener.push(generator.bytes(60), "10.0.0.7", 0.0)
        listener.push(data)
    assert listener.drawing == "#" * PROBATION


@pytest.mark.parametrize("data", [b"", b"\x80", b"x" * 400])
def test_what_is_no_rtp_is_named(data: bytes) -> None:
    assert PacketReader(RATE, 1).push(data, HOST, 0.0) == Rejected(NO_RTP)


def test_the_codec_of_a_static_type_is_named() -> None:
    found = PacketReader(RATE, 1).push(packet(0, payload_type=8), HOST, 0.0)
    assert isinstance(found, Rejected)
    assert "payload type 8 (PCMA)" in found.reason


@pytest.mark.parametrize(
    "data", [packet(0)[:12], b"\x9f\x60" + bytes(20), b"\x80\xc8" + bytes(40)]
)
def test_packets_without_samples_and_reports_are_no_fault(data: bytes) -> None:
    assert PacketReader(RATE, 1).push(data, HOST, 0.0) == []


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 255))))
def test_no_packet_is_an_error(packets: list[tuple[bytes, int]]) -> None:
    reader = PacketReader(RATE, 1)
    for number, (data, first) in enumerate(packets):
        for it in (data, bytes([first, 96, 0, number]) + data):
            found = reader.push(it, HOST, number * 0.01)
            for item in [] if isinstance(found, Rejected) else found:
                assert isinstance(item, Lost) or np.isfinite(item).all()
    heard = [reader.push(it, HOST, 99.0) for it in sent(range(10_000, 10_020))]
    assert any(isinstance(it, list) and it for it in heard)


def test_the_samples_are_those_that_were_sent() -> None:
    heard = Listener().push_all(sent([*range(30), 31, 30, *range(32, 50)])).heard
    samples = np.concatenate(heard, axis=1)[0]
    np.testing.assert_array_equal(samples * 2**15, np.arange(50 * COUNT))


def test_a_static_type_says_rate_and_channels() -> None:
    reader = PacketReader(RATE, 1)
    found: list[Samples | Lost] = []
    for place in range(60):
        data = packet(place * COUNT // 2, place, payload_type=10)
        items = reader.push(data, HOST, 0.0)
        found += [] if isinstance(items, Rejected) else items
    assert (reader.sample_rate, reader.channels) == (44_100, 2)
    assert [it.shape for it in found if not isinstance(it, Lost)] == [(2, 80)] * 60
