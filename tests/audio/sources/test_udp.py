"""Packets of raw PCM are put in order, and what is lost is counted."""

import shutil
import socket
import struct
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from monitor.audio.sources.udp import PacketReader, Udp, UdpStream
from monitor.config.audio import SourceSettings
from monitor.errors import SourceError
from tests.support.capture_reader import running_capture
from tests.support.rtsp_camera import free_port
from tests.support.source_programs import DEADLINE_SECONDS

COUNT = 160


def packet(stamp: int, *, sender: int = 7, kind: int = 96, value: int = 0) -> bytes:
    """A packet of 160 samples; each is `value`, or what it is counted from `stamp`."""
    samples = [value or (stamp + n) % 32_768 for n in range(COUNT)]
    header = struct.pack(">BBHII", 0x80, kind, 0, stamp % 2**32, sender)
    return header + struct.pack(f">{COUNT}h", *samples)


def read_all(packets: list[bytes], host: str = "10.0.0.9") -> str:
    """Samples as `#`, each lost packet as `-`, in units of a packet."""
    reader = PacketReader(16_000, 1)
    drawing = ""
    for number, data in enumerate(packets):
        for item in reader.push(data, host, number * 0.01):
            count = item.count if isinstance(item, Lost) else item.shape[1]
            drawing += ("-" if isinstance(item, Lost) else "#") * (count // COUNT)
    return drawing


@pytest.mark.parametrize(
    ("stamps", "drawing"),
    [
        ([0, 1, 2, 3], "####"),
        ([0, 1, 4, 5], "##--##"),
        ([0, 2, 1, 3], "#-##"),  # the late one counts as lost already
        ([0, 1, 1, 2], "###"),
        ([0, 1, 90_000, 90_001], "####"),  # the sender began anew
    ],
)
def test_losses_are_counted_by_the_time_stamp(stamps: list[int], drawing: str) -> None:
    assert read_all([packet(stamp * COUNT) for stamp in stamps]) == drawing


@pytest.mark.parametrize("kind", [0, 10, 11, 33])
def test_packets_of_another_form_among_those_of_a_sender_are_left_out(
    kind: int,
) -> None:
    """Stereo among mono would end the monitor."""
    packets = [packet(0), packet(COUNT, kind=kind), packet(2 * COUNT)]
    assert read_all(packets) == "#-#"


def test_a_name_that_no_host_can_have_is_waited_for() -> None:
    with pytest.raises(SourceError, match="no host's name"):
        Udp("udp:a..b:45004", 16_000, 1).open()


def test_the_time_stamp_may_overflow() -> None:
    first = 2**32 - COUNT
    assert read_all([packet(first), packet(0), packet(2 * COUNT)]) == "##-#"


def test_only_one_sender_is_heard_at_a_time() -> None:
    packets = [packet(0), packet(999 * COUNT, sender=8), packet(COUNT)]
    assert read_all(packets) == "##"


def test_another_sender_is_heard_when_the_first_is_silent() -> None:
    reader = PacketReader(16_000, 1)
    assert len(reader.push(packet(0), "10.0.0.9", 0.0)) == 1
    assert reader.push(packet(0, sender=8), "10.0.0.9", 0.5) == []
    assert len(reader.push(packet(0, sender=8), "10.0.0.9", 1.5)) == 1


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"x" * 400, packet(0)[:12], b"\x9f\x60" + bytes(20)]
)
def test_what_is_no_packet_is_left_out(data: bytes) -> None:
    assert read_all([data]) == ""


@given(st.binary(max_size=400), st.integers(0, 255))
def test_no_packet_is_an_error(data: bytes, first: int) -> None:
    reader = PacketReader(16_000, 2)
    for packet_ in (data, bytes([first]) + data):
        for item in reader.push(packet_, "10.0.0.9", 0.0):
            assert isinstance(item, Lost) or np.isfinite(item).all()


def test_the_samples_are_those_that_were_sent() -> None:
    (samples,) = PacketReader(16_000, 1).push(packet(100), "10.0.0.9", 0.0)
    assert not isinstance(samples, Lost)
    np.testing.assert_array_equal(samples[0] * 2**15, np.arange(100, 100 + COUNT))


def test_a_static_type_says_rate_and_channels() -> None:
    reader = PacketReader(16_000, 1)
    (samples,) = reader.push(packet(0, kind=10), "10.0.0.9", 0.0)
    assert not isinstance(samples, Lost)
    assert (reader.sample_rate, reader.channels, samples.shape) == (44_100, 2, (2, 80))


def wait_for(stream: UdpStream) -> Samples | Lost:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        item = stream.read(0.2)
        if item is not None:
            return item
    raise AssertionError("nothing came")


def test_a_port_gives_samples_and_losses_in_order() -> None:
    port = free_port()
    with closing(Udp(f"udp:127.0.0.1:{port}", 16_000, 1).open()) as stream:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for stamp in (0, 1, 3):
                sender.sendto(packet(stamp * COUNT), ("127.0.0.1", port))
        items = [wait_for(stream), wait_for(stream), wait_for(stream)]
        assert [isinstance(item, Lost) for item in items] == [False, True, False]
        assert stream.read(0.05) is None


def test_a_loss_is_a_gap_in_its_place() -> None:
    port = free_port()
    settings = SourceSettings(
        name="shed", input=f"udp:127.0.0.1:{port}", sample_rate=16_000
    )
    with (
        running_capture(settings, 16_000) as reader,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        stamp = 0
        while not reader.gaps:
            sender.sendto(packet(stamp, value=1000), ("127.0.0.1", port))
            stamp += COUNT if stamp % (50 * COUNT) else 4 * COUNT
            time.sleep(0.01)
            reader.take()
    (gap,) = reader.gaps
    assert (gap.reason, gap.stop - gap.start) == ("stalled", 3 * COUNT)


def test_a_port_in_use_is_named() -> None:
    port = free_port()
    source = Udp(f"udp:{port}", 16_000, 1)
    with closing(source.open()), pytest.raises(SourceError, match="in use"):
        source.open()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_ffmpeg_sends_is_heard() -> None:
    port = free_port()
    tone = ["-re", "-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=16000"]
    form = ["-c:a", "pcm_s16be", "-f", "rtp", f"rtp://127.0.0.1:{port}"]
    with closing(Udp(f"udp:{port}", 16_000, 1).open()) as stream:
        sender = subprocess.Popen(
            ["ffmpeg", "-v", "error", *tone, *form], stdout=subprocess.DEVNULL
        )
        try:
            items = [wait_for(stream) for _ in range(20)]
        finally:
            sender.kill()
            sender.wait()
    blocks = [item for item in items if not isinstance(item, Lost)]
    assert len(blocks) == len(items)
    samples = np.concatenate(blocks, axis=1)[0]
    peak = np.argmax(np.abs(np.fft.rfft(samples))) * 16_000 / len(samples)
    assert peak == pytest.approx(1000, abs=10)
