"""The daemon at a port: losses of packets are few records, and a codec is named."""

import os
import socket
import time

import pytest

from tests.support.daemon import RunningMonitor
from tests.support.rtp import rtp_packet
from tests.support.rtsp_camera import free_port

RATE = 44_100
COUNT = RATE // 100
DEADLINE_SECONDS = 20.0


def test_thousands_of_losses_are_one_gap_and_a_codec_is_a_sentence(tmp_path):
    port = free_port()
    lost = 0

    def send(number: int, stamp: int, payload: bytes) -> None:
        data = rtp_packet(payload, stamp, number, payload_type=11)
        sender.sendto(data, ("127.0.0.1", port))

    with (
        RunningMonitor(tmp_path, "--input", f"udp:127.0.0.1:{port}") as monitor,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        monitor.wait_for_line("opening")
        began = time.monotonic()
        for place in range(300):  # each is sent in parts, a sample short
            for part in range(9):
                stamp = place * COUNT + 49 * part
                send(18 * place + 2 * part, stamp, os.urandom(96))
                lost += 1
            time.sleep(max(0.0, began + place / 100 - time.monotonic()))
        for place in range(400):
            send(6000 + place, 300 * COUNT + 960 * place, os.urandom(50 + place % 99))
            time.sleep(0.01)
            if any("no 16-bit PCM" in line for line in monitor.lines):
                break
        monitor.wait_for_line("no 16-bit PCM")
        assert monitor.stop()[0] == 0
        short, *others = monitor.records("gap")
        assert short["end_reason"] == "stalled"
        # The latest tenth of a second waits for packets before it.
        assert short["left_out_seconds"] * RATE == pytest.approx(lost, abs=150)
        assert len(others) <= 2
        assert sum("gap" in line for line in monitor.lines) <= 3
