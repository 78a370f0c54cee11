"""An input is checked, and holds no password."""

from typing import Any

import pytest
from pydantic import ValidationError

from monitor.config.audio import SourceSettings, udp_address
from monitor.config.load import check_settings
from monitor.errors import ConfigError

PASSWORD = {"password": "env:GATE"}


def built(url: str, **settings: Any) -> SourceSettings:
    return SourceSettings(name="gate", input=url, **settings)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://10.0.0.9/live",
        "rtsps://[fe80::1]:322/live?channel=1&subtype=0",
        "http://host/stream.mp3",
        "https://host:8443/live.m3u8?key=1",
        "udp:5004",
        "udp:10.0.0.1:5004",
        "udp:[::1]:5004",
    ],
)
def test_a_stream_is_live(url: str) -> None:
    assert built(url).is_live


def test_a_scheme_may_have_capitals() -> None:
    assert built("RTSP://Host/Live").input == "rtsp://Host/Live"
    assert not built("Demo:").is_live
    with pytest.raises(ValidationError, match="a password; write username and"):
        built("RTSP://me:hunter2@host/live")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("rtsp:///live", "has no host"),
        ("rtsp://host:99999/", "is not a URL"),
        ("rtsp://host/a b", "must not contain spaces or quotes"),
        ("rtsp://host/a'b", "must not contain spaces or quotes"),
        ("udp:0", "must be udp:PORT or udp:ADDRESS:PORT"),
        ("rtsp://host:0/", "has the port 0, which no server has"),
        ("udp:host:", "must be udp:PORT or udp:ADDRESS:PORT"),
        ("udp:shed.local:5004", "'shed.local' is no IP address: write udp:PORT"),
        ("udp:localhost:5004", "no IP address"),
        ("udp:1.2.3:5004", "no IP address"),
        ("ftp://host/", "must be mic:NAME"),
    ],
)
def test_an_impossible_stream_is_rejected(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        built(url)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://me:hunter2@host/live",
        "rtsp://hunter2@host/live",
        "http://host/live?user=me&password=hunter2",
        "rtsp://host/live?token=hunter2",
        "http://host/live?a=b&access_token=hunter2",
        "http://host/live?APIKEY=hunter2",
    ],
)
def test_a_password_in_a_url_is_rejected_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="must not contain") as caught:
        check_settings(SourceSettings, {"name": "a", "input": url}, "--input")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("rtsp://host/live", {"username": "me"} | PASSWORD),
        ("rtsp://host/live", {"username": "me"}),
        ("rtsps://host/{password}", PASSWORD),
        ("http://host/?password={password}", PASSWORD),
        ("http://host/pcm", {"sample_rate": 16_000, "channels": 2}),
        ("udp:5004", {"sample_rate": 16_000, "channels": 2}),
        ("command:a", {"channels": 2, "sample_format": "f32le"}),
        ("rtsps://host/live", {"ca_file": "/gate.pem"}),
        ("https://host/live", {"verify_certificate": False}),
    ],
)
def test_a_login_is_named_beside_the_url(url: str, settings: dict[str, Any]) -> None:
    built(url, **settings)


@pytest.mark.parametrize(
    ("url", "settings", "sentence"),
    [
        ("mic:default", {"username": "me"}, "are for a stream with a URL"),
        ("rtsp://host/", PASSWORD, "password needs username"),
        ("rtsp://host/{password}", {}, "in the input needs password"),
        ("http://host/", {"ca_file": "/a"}, "are for rtsps and https"),
        ("mic:a", {"verify_certificate": False}, "are for rtsps and https"),
        (
            "https://host/",
            {"ca_file": "/a", "verify_certificate": False},
            "ca_file needs verify_certificate: true",
        ),
        ("rtsp://host/", {"username": "me", "password": "hunter2"}, "where the secret"),
        ("rtsp://host/", {"sample_rate": 16_000}, "sample_rate has no effect on a ca"),
        ("https://host/", {"channels": 1}, "channels has no effect on a stream by htt"),
        ("file:a.wav", {"channels": 1}, "channels has no effect on a recording"),
        ("demo:", {"channels": 1}, "channels has no effect on the demo scene"),
        (
            "udp:5004",
            {"sample_format": "f32le"},
            "sample_format has no effect on packe",
        ),
        ("mic:a", {"sample_format": "f32le"}, "sample_format has no effect on a micro"),
        (
            "http://host/pcm",
            {"sample_rate": 16_000, "username": "me"} | PASSWORD,
            "raw PCM by http cannot have a password",
        ),
    ],
)
def test_what_does_not_fit_together_is_rejected(
    url: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        built(url, **settings)


def test_the_address_of_a_port() -> None:
    assert udp_address("udp:5004") == ("", 5004)
    assert udp_address("udp:[::1]:5004") == ("::1", 5004)
