"""A port of this machine takes packets, whoever sends them, and says what is wrong."""

import itertools
import logging
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from monitor.audio.ring import Samples
from monitor.audio.sources import udp
from monitor.audio.sources.rtp import PacketReader
from monitor.audio.sources.source import Lost
from monitor.audio.sources.udp import (
    FollowedSender,
    RejectedPackets,
    Udp,
    UdpStream,
)
from monitor.config.audio import SourceSettings
from monitor.errors import SourceError
from tests.support.capture_reader import running_capture
from tests.support.rtp import rtp_packet
from tests.support.rtsp_camera import free_port
from tests.support.source_programs import DEADLINE_SECONDS

RATE = 16_000
COUNT = 160


def packet(place: int) -> bytes:
    """A packet of 160 samples in this place of the stream."""
    payload = struct.pack(f">{COUNT}h", *[1000] * COUNT)
    return rtp_packet(payload, place * COUNT, place)


@contextmanager
def sender_to(port: int, host: str = "127.0.0.1") -> Iterator[Callable[[bytes], None]]:
    """A function that sends to a port from the address `host`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
        it.bind((host, 0))

        def send(data: bytes) -> None:
            it.sendto(data, ("127.0.0.1", port))

        yield send


def test_no_name_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers late would keep the capture thread from its turn."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked"))
    for host in ("", "127.0.0.1:", "[::1]:"):
        Udp(f"udp:{host}{free_port()}", RATE, 1).open().close()
    with pytest.raises(SourceError, match="Cannot assign requested address"):
        Udp("udp:203.0.113.1:45004", RATE, 1).open()


def wait_for(stream: UdpStream) -> Samples | Lost:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        item = stream.read(0.2)
        if item is not None:
            return item
    raise AssertionError("nothing came")


def read(stream: UdpStream, count: int) -> list[Samples | Lost]:
    """Read blocks and losses of `count` samples."""
    items: list[Samples | Lost] = []
    while sum(_count(item) for item in items) < count:
        items.append(wait_for(stream))
    return items


def test_a_port_gives_samples_and_losses_in_order() -> None:
    port = free_port()
    with closing(Udp(f"udp:127.0.0.1:{port}", RATE, 1).open()) as stream:
        with sender_to(port) as send:
            for place in [*range(20), *range(21, 40)]:
                send(packet(place))
        items = read(stream, 40 * COUNT)
        assert stream.read(0.05) is None
    lost = [number for number, it in enumerate(items) if isinstance(it, Lost)]
    assert [items[number].count for number in lost] == [COUNT]
    assert sum(_count(item) for item in items[: lost[0]]) == 20 * COUNT


def _count(item: Samples | Lost) -> int:
    return item.count if isinstance(item, Lost) else item.shape[1]


def test_what_finds_no_room_while_nobody_reads_is_an_overrun() -> None:
    """The kernel drops it: the network and the device have delivered."""
    port = free_port()
    with (
        closing(Udp(f"udp:127.0.0.1:{port}", RATE, 1).open()) as stream,
        sender_to(port) as send,
    ):
        stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        for place in range(10):
            send(packet(place))
        items = read(stream, 10 * COUNT)
        for place in range(10, 110):  # a second, in which nobody reads
            send(packet(place))
            time.sleep(0.01)
        while (part := stream.read(0.05)) is not None:
            items.append(part)
        for place in range(110, 120):
            send(packet(place))
        items += read(stream, 120 * COUNT - sum(map(_count, items)))
        time.sleep(0.3)  # 20 packets are missing, and the clock agrees
        for place in range(140, 151):
            send(packet(place))
        items += read(stream, 31 * COUNT)
    overrun, stalled = (item for item in items if isinstance(item, Lost))
    assert overrun.reason == "overrun"
    assert stalled == Lost(20 * COUNT, "stalled")


def test_tiny_losses_are_summed_up_by_block() -> None:
    """A thousand losses a second would cost half a core."""
    port, step = free_port(), 32
    with closing(Udp(f"udp:127.0.0.1:{port}", RATE, 1).open()) as stream:
        with sender_to(port) as send:
            for place in range(300):
                payload = bytes(2 * (step - (place < 200 and place % 2)))
                send(rtp_packet(payload, step * place, 2 * place))
        items = read(stream, 300 * step)
    losses = [item.count for item in items if isinstance(item, Lost)]
    assert sum(losses) == 100
    assert len(losses) <= 40


def test_a_loss_is_a_gap_in_its_place() -> None:
    port = free_port()
    settings = SourceSettings(
        name="shed", input=f"udp:127.0.0.1:{port}", sample_rate=RATE
    )
    with running_capture(settings, RATE) as reader, sender_to(port) as send:
        lost = {place for place in range(2000) if place % 50 in (1, 2, 3)}
        for place in (place for place in range(2000) if place not in lost):
            send(packet(place))
            time.sleep(0.01)
            reader.take()
            if reader.gaps:
                break
    (gap,) = reader.gaps
    assert (gap.reason, gap.stop - gap.start) == ("stalled", 3 * COUNT)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (bytes(320), "are no RTP"),
        (packet(0)[:1] + bytes(200), "payload type 0 (PCMU)"),
    ],
)
def test_what_cannot_be_read_is_said_instead_of_silence(
    data: bytes, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    settings = SourceSettings(name="shed", input=f"udp:127.0.0.1:{port}")
    with running_capture(settings, RATE) as reader, sender_to(port) as send:
        for _ in range(2000):
            send(data)
            time.sleep(0.01)
            reader.take()
            if "waiting" in reader.states:
                break
    assert sentence in reader.sentences[-1]
    assert sum(sentence in line for line in caplog.messages) == 2
    assert sum("those of 127.0.0.1" in line for line in caplog.messages) == 1


def test_what_cannot_be_read_is_no_fault_while_a_sender_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(now) * 0.002)
    monkeypatch.setattr(udp, "time", clock)
    port, heard = free_port(), 0
    with (
        closing(Udp(f"udp:127.0.0.1:{port}", RATE, 1).open()) as stream,
        sender_to(port) as send,
        sender_to(port, "127.0.0.2") as other,
    ):
        for place in range(1000):
            other(b"junk")
            send(packet(place))
            item = stream.read(0.02)
            heard += 0 if item is None else _count(item)
    assert clock.monotonic() > 4.0
    assert heard > 900 * COUNT


def test_another_sender_that_is_heard_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    settings = SourceSettings(
        name="shed", input=f"udp:127.0.0.1:{port}", sample_rate=RATE
    )
    with running_capture(settings, RATE) as reader:
        for host in ("127.0.0.1", "127.0.0.2"):
            with sender_to(port, host) as send:
                for place in range(1000):
                    send(packet(place))
                    time.sleep(0.01)
                    reader.take()
                    if f"from {host}, 16000 Hz, 1 channel" in reader.sentences[-1]:
                        break
    assert reader.states == ["opening", "listening", "listening"]
    assert "from 127.0.0.2, 16000 Hz" in reader.sentences[-1]
    assert [line for line in caplog.messages if "heard now" in line] == [
        f"packets at 'udp:127.0.0.1:{port}': those of 127.0.0.2 are heard now, before "
        "it were those of 127.0.0.1"
    ]


def test_a_sender_that_is_heard_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    followed = FollowedSender("packets")
    for second in range(121):
        followed.follow(f"10.0.0.{second % 2}", float(second))
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("packets: those of 10.0.0.1 are heard now")


class Flooded(socket.socket):
    """A socket at which junk arrives faster than it can be read."""

    began = 0.0

    def recvmsg(
        self, *_: object
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        assert time.monotonic() - self.began < DEADLINE_SECONDS
        return b"junk", [], 0, ("10.0.0.7", 5004)


def test_a_flood_of_junk_does_not_keep_the_port_from_answering() -> None:
    with Flooded(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.sendto(b"", listener.getsockname())
        stream = UdpStream(
            listener, PacketReader(RATE, 1), RejectedPackets("packets"), "they"
        )
        listener.began = time.monotonic()
        assert stream.read(0.2) is None


def test_each_stranger_is_named_once_and_counted_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rejected = RejectedPackets("packets at 'udp:5004'")
    with caplog.at_level(logging.WARNING):
        for second in range(4000):
            rejected.add("10.0.0.7", "are no RTP", float(second))
        for host in range(1000):
            rejected.add(f"10.1.0.{host}", "are no RTP", 4000.0)
    said = [line for line in caplog.messages if "are left out" in line]
    assert len(said) == 10
    assert said[0] == (
        "packets at 'udp:5004': those of 10.0.0.7 are left out: they are no RTP"
    )
    assert caplog.messages[1] == (
        "packets at 'udp:5004': left out in the latest hour: 3601 of 10.0.0.7"
    )


def test_strangers_of_an_earlier_hour_leave_room_for_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rejected = RejectedPackets("packets")
    for hour in range(3):
        for host in range(20):
            rejected.add(f"10.{hour}.0.{host}", "are no RTP", hour * 3600.0)
        rejected.add("10.9.9.9", "are no RTP", hour * 3600.0 + 3599)
    said = [line for line in caplog.messages if "are left out" in line]
    assert len(said) == 20


def test_a_port_in_use_is_named() -> None:
    port = free_port()
    source = Udp(f"udp:{port}", RATE, 1)
    with closing(source.open()), pytest.raises(SourceError, match="in use"):
        source.open()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_ffmpeg_sends_is_heard() -> None:
    port = free_port()
    tone = ["-re", "-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=16000"]
    form = ["-c:a", "pcm_s16be", "-f", "rtp", f"rtp://127.0.0.1:{port}"]
    with closing(Udp(f"udp:{port}", RATE, 1).open()) as stream:
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
    peak = np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples)
    assert peak == pytest.approx(1000, abs=10)
