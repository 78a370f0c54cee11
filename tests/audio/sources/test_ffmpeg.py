"""The arguments of ffmpeg hold no secret, and its words become a sentence."""

import pytest

from monitor.audio.sources.ffmpeg import (
    Fault,
    Ffmpeg,
    Request,
    find_fault,
    find_offer,
    invocation,
    without_secrets,
)
from monitor.audio.sources.network import Network
from monitor.audio.sources.pcm import PcmFormat
from monitor.config.audio import SourceSettings
from monitor.errors import UsageError

CAMERA = "rtsp://camera/live"
SECRET = Request("rtsp://me:pw@camera/live?a=b", ("me:pw", "pw"))


def options(argv: list[str]) -> dict[str, str]:
    names = ("rtsp_transport", "timeout", "stimeout", "allowed_media_types", "i")
    return {
        name: argv[argv.index(f"-{name}") + 1] for name in names if f"-{name}" in argv
    }


@pytest.mark.parametrize(("version", "timeout"), [(4, "stimeout"), (5, "timeout")])
def test_the_time_limit_has_the_name_of_the_version(version: int, timeout: str) -> None:
    argv, script = invocation(Request(CAMERA), Ffmpeg(version))
    assert options(argv) == {
        "rtsp_transport": "tcp",
        timeout: "8000000",
        "allowed_media_types": "audio",
        "i": CAMERA,
    }
    assert script == b""


def test_the_whole_stream_is_asked_for_without_a_choice_of_media() -> None:
    argv, _ = invocation(Request(CAMERA, audio_alone=False), Ffmpeg(5))
    assert "allowed_media_types" not in options(argv)


def test_a_secret_is_in_the_script_alone() -> None:
    argv, script = invocation(SECRET, Ffmpeg(5))
    assert "pw" not in " ".join(argv)
    assert options(argv) == {"i": "pipe:0"}
    lines = script.decode().splitlines()
    assert lines[:2] == ["ffconcat version 1.0", f"file '{SECRET.url}'"]
    assert "option rtsp_transport tcp" in lines
    assert "option timeout 8000000" in lines
    assert "file" not in argv[argv.index("-protocol_whitelist") + 1].split(",")


def test_a_script_for_version_4_asks_for_tcp_by_the_url() -> None:
    argv, script = invocation(SECRET, Ffmpeg(4))
    assert script.decode().splitlines()[1:] == [f"file '{SECRET.url}&tcp'"]
    assert options(argv) == {"i": "pipe:0"}


@pytest.mark.parametrize(
    ("request_", "ffmpeg", "expected"),
    [
        (Request("http://host/live"), Ffmpeg(5), None),
        (Request("https://host/live"), Ffmpeg(5), "1"),
        (Request("https://host/live.m3u8"), Ffmpeg(5), "1"),
        (Request("https://host/live", verify_certificate=False), Ffmpeg(5), "0"),
        (Request("rtsps://host/live"), Ffmpeg(5), None),
        (Request("rtsps://host/live"), Ffmpeg(8, has_camera_tls=True), "1"),
        # The certificate that was compared before may have another name.
        (Request("rtsps://host/live", ca_file="a"), Ffmpeg(8, True), "0"),
        (Request("rtsps://host/", verify_certificate=False), Ffmpeg(9, True), "0"),
    ],
)
def test_ffmpeg_verifies_where_it_can(
    request_: Request, ffmpeg: Ffmpeg, expected: str | None
) -> None:
    argv, _ = invocation(request_, ffmpeg)
    found = argv[argv.index("-tls_verify") + 1] if "-tls_verify" in argv else None
    assert found == expected


@pytest.mark.parametrize(
    ("request_", "ffmpeg", "checked"),
    [
        (Request("rtsps://[fe80::1]/live"), Ffmpeg(5), ["fe80::1", "322", ""]),
        (Request("rtsps://host:1/", ca_file="/a b"), Ffmpeg(5), ["host", "1", "/a b"]),
        (Request("rtsps://host/"), Ffmpeg(8, has_camera_tls=True), ["host", "322", ""]),
        (Request("https://a:b@host/live", ("a:b",)), Ffmpeg(4), ["host", "443", ""]),
        (Request("https://a:b@host/live", ("a:b",)), Ffmpeg(5), None),
        (Request("rtsps://host/", verify_certificate=False), Ffmpeg(5), None),
        (Request("rtsp://host/"), Ffmpeg(5), None),
    ],
)
def test_what_ffmpeg_cannot_verify_is_verified_before(
    request_: Request, ffmpeg: Ffmpeg, checked: list[str] | None
) -> None:
    argv, _ = invocation(request_, ffmpeg)
    before = argv[: argv.index("ffmpeg")]
    assert (before[-3:] or None) == checked


def test_a_file_of_certificates_may_have_any_name() -> None:
    request = Request("https://a:b@host/live", ("a:b",), ca_file="/it's a ca.pem")
    _, script = invocation(request, Ffmpeg(5))
    assert r"option ca_file '/it'\''s a ca.pem'" in script.decode().splitlines()


def test_raw_samples_are_described() -> None:
    request = Request("http://esp/pcm", raw=PcmFormat(16_000, 2, "s16le"))
    argv, _ = invocation(request, Ffmpeg(5))
    begin = argv.index("-f")
    assert argv[begin : begin + 6] == ["-f", "s16le", "-ar", "16000", "-ac", "2"]


@pytest.mark.parametrize("secrets", [(), ("secret",)])
def test_a_server_cannot_have_files_or_ports_opened(secrets: tuple[str, ...]) -> None:
    argv, _ = invocation(Request("http://radio.example.org/live", secrets), Ffmpeg(5))
    allowed = argv[argv.index("-protocol_whitelist") + 1].split(",")
    assert not {"file", "rtp", "udp", "rtsp"} & set(allowed)


def test_a_playlist_is_read_at_its_own_pace() -> None:
    assert "-re" in invocation(Request("http://host/live.m3u8?x"), Ffmpeg(5))[0]
    assert "-re" not in invocation(Request("http://host/live.mp3"), Ffmpeg(5))[0]


SDP = ["[rtsp @ 0x55d2] [verbose] SDP:", "v=0", "m=video 0 RTP/AVP 96"]
OPENED = [*SDP, "a=rtpmap:96 H264/90000", "m=audio 0 RTP/AVP 8"]
INPUT = [
    "[info] Input #0, rtsp, from 'rtsp://camera/live':",
    "[info]   Stream #0:0: Audio: aac (LC), 16000 Hz, mono, fltp",
    "[info] Stream mapping:",
    "[info]   Stream #0:0: Audio: pcm_s16le ([1][0][0][0] / 0x0001), 16000 Hz, mono",
]


PLAYLIST = "Stream #0:0: Audio: aac (LC) ([15][0][0][0] / 0x000F), 48000 Hz, stereo"


@pytest.mark.parametrize(
    ("lines", "sound", "picture"),
    [
        ([], None, None),
        (OPENED, "PCMA", "H264"),
        ([*OPENED, *INPUT], "aac (LC), 16000 Hz, mono", "H264"),
        (SDP, None, "unknown"),
        ([PLAYLIST], "aac (LC), 48000 Hz, stereo", None),
    ],
)
def test_the_offer_of_a_camera(
    lines: list[str], sound: str | None, picture: str | None
) -> None:
    offer = find_offer(lines)
    assert (offer.sound, offer.picture) == (sound, picture)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("[info]   Duration: 00:01:02.50, bitrate: 256 kb/s", 62.5),
        ("[info]   Duration: N/A, bitrate: 256 kb/s", None),
    ],
)
def test_the_duration_of_a_recording(line: str, seconds: float | None) -> None:
    assert find_offer([line]).seconds == seconds


INVALID = "Invalid data found when processing input"
TCP = "[tcp @ 0x5678c] [verbose] Starting connection attempt to 10.0.0.9 port 554"


@pytest.mark.parametrize(
    ("lines", "delivered", "sentence"),
    [
        (
            [
                "[tcp @ 0x1] [error] Connection to tcp://h:1?timeout=1 failed: No "
                "route to host",
                "[concat @ 0x2] [error] Impossible to open 'rtsp://h/live'",
                "[error] pipe:0: No route to host",
            ],
            False,
            "cannot be reached: No route to host",
        ),
        (
            [
                "[tcp @ 0x1] [error] Failed to resolve hostname h: Name or service "
                "not known"
            ],
            False,
            "cannot be reached: Name or service not known",
        ),
        (["[rtsp @ 0x1] [error] method DESCRIBE failed: 404 Not Found"], False, "404"),
        (
            ["[rtsp @ 0x1] [error] method SETUP failed: 461 Unsupported transport"],
            False,
            "cannot be read: method SETUP failed: 461 Unsupported transport",
        ),
        ([*SDP, "[rtsp @ 0x1] [error] method PLAY failed: 454 x"], False, "no sound"),
        (
            ["[fatal] Stream map '0:a:0' matches no streams."],
            False,
            "offers no sound: switch",
        ),
        (
            ["[error] no TLS at this port: record layer failure"],
            False,
            "has no TLS at this port (record layer failure): check the port",
        ),
        ([TCP, *OPENED], True, "closed the connection"),
        (
            [*OPENED, "[error] rtsp://h/live: Connection timed out"],
            True,
            "broke off: Connection timed out",
        ),
        ([f"[error] pipe:0: {INVALID}"], False, f"rtsp ({INVALID}): check the port, "),
    ],
)
def test_the_reason_of_an_end(lines: list[str], delivered: bool, sentence: str) -> None:
    fault = find_fault(lines, Request(CAMERA), delivered=delivered, seconds=1.0)
    assert sentence in fault.sentence
    assert fault.retry_seconds == 0


def test_a_refused_login_waits() -> None:
    lines = ["[rtsp @ 0x1] [error] method DESCRIBE failed: 401 Unauthorized"]
    fault = find_fault(lines, SECRET, delivered=False)
    assert fault.retry_seconds == 60


def test_a_camera_that_hangs_has_delivered_nothing() -> None:
    fault = find_fault([f"[error] {INVALID}"], SECRET, delivered=False, seconds=8.1)
    assert fault == Fault("delivered nothing", is_stall=True)


@pytest.mark.parametrize(
    ("url", "line", "sentence"),
    [
        ("rtsp://h/", INVALID, "or write rtsps instead of rtsp"),
        ("rtsps://h/", INVALID, "does not answer by rtsp ("),
        ("http://h/", "http://h/: Connection reset by peer", "write https instead of"),
        ("http://h/", "Server returned 400 Bad Request", "write https instead of http"),
        ("https://h/", "x: Connection reset by peer", "(Connection reset by peer): c"),
        ("http://h/", "Stream ends prematurely at 9", "knows, perhaps a web page ("),
        ("http://h/", INVALID, "is no sound that ffmpeg knows, perhaps a web page"),
    ],
)
def test_an_answer_of_another_scheme(url: str, line: str, sentence: str) -> None:
    fault = find_fault([f"[error] {line}"], Request(url), delivered=False)
    assert sentence in fault.sentence
    assert "instead" not in fault.sentence or "s:" not in url


def test_the_words_of_ffmpeg_lose_their_secrets() -> None:
    lines = [f"[error] {SECRET.url}: 401", "[hls @ 0x1] Opening 'http://host/pw/1.ts'"]
    clean = without_secrets(lines, SECRET.secrets)
    assert clean == [
        "[error] rtsp://***@camera/live?a=b: 401",
        "[hls @ 0x1] Opening 'http://host/***/1.ts'",
    ]


def test_without_ffmpeg_a_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="apt-get install ffmpeg"):
        Network(SourceSettings(name="gate", input=CAMERA), None)
