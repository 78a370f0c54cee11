"""A camera that announces itself is found."""

import socket

import pytest

from monitor.audio.sources.discovery import SERVICE, find_cameras

zeroconf = pytest.importorskip("zeroconf")

LOOPBACK = ["127.0.0.1"]


def test_a_camera_that_announces_itself_is_found_with_its_url() -> None:
    network = zeroconf.Zeroconf(LOOPBACK)
    try:
        network.register_service(
            zeroconf.ServiceInfo(
                SERVICE,
                f"Gate.{SERVICE}",
                8554,
                addresses=[socket.inet_aton("10.0.0.9")],
                properties={"path": "/stream1"},
                server="gate.local.",
            )
        )
        found = find_cameras(1.0, LOOPBACK)
    finally:
        network.close()
    assert [(it.name, it.url) for it in found] == [
        ("Gate", "rtsp://10.0.0.9:8554/stream1")
    ]
