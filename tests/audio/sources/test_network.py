"""Streams of a real camera server, read by a real ffmpeg, through all their faults."""

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from monitor.config.audio import SourceSettings
from monitor.records import Gap
from tests.support.capture_reader import CaptureReader, running_capture
from tests.support.relay import Relay, relay_to
from tests.support.rtsp_camera import Camera, CameraSettings, missing
from tests.support.stream_server import FORMATS, playlist, streams

LACK = missing()
pytestmark = [
    pytest.mark.camera,
    pytest.mark.skipif(bool(LACK), reason=f"needs {LACK}"),
]

RATE = 16_000
BACK_SECONDS = 10.0
"""Longest time from the return of a camera to its sound: twice what is documented."""

SOUND_ALONE = CameraSettings(picture=False)
PASSWORD = "p@ss:w/rd #1%'"


def slow(*values: Any) -> Any:
    """A case of the slow tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


@contextmanager
def camera(settings: CameraSettings = SOUND_ALONE) -> Iterator[Camera]:
    it = Camera(settings)
    try:
        yield it
    finally:
        it.stop()


def listening(
    url: str, secret: str | None = None, **settings: Any
) -> AbstractContextManager[CaptureReader]:
    settings = {"stall_seconds": 1.0, **settings}
    return running_capture(
        SourceSettings(name="gate", input=url, **settings),
        RATE,
        None if secret is None else lambda: secret,
    )


def tone_hz(reader: CaptureReader) -> float:
    """Frequency of the loudest tone of the newest half second."""
    samples = np.concatenate([it.samples[0] for it in reader.blocks])
    newest = samples[-RATE // 2 :]
    spectrum = np.abs(np.fft.rfft(newest * np.hanning(len(newest))))
    return float(np.argmax(spectrum) * RATE / len(newest))


def heard_seconds(reader: CaptureReader) -> float:
    return sum(it.samples.shape[1] for it in reader.blocks) / RATE


def wait_for_tone(reader: CaptureReader, seconds: float = 1.0) -> None:
    enough = heard_seconds(reader) + seconds
    reader.wait_until(lambda: heard_seconds(reader) >= enough)
    assert tone_hz(reader) == pytest.approx(1000, abs=5)


def joined(gaps: list[Gap]) -> list[tuple[int, int]]:
    """Losses as people see them: gaps that follow each other are one."""
    losses: list[tuple[int, int]] = []
    for gap in gaps:
        if losses and losses[-1][1] == gap.start:
            losses[-1] = losses[-1][0], gap.stop
        else:
            losses.append((gap.start, gap.stop))
    return losses


@pytest.mark.parametrize(
    "settings",
    [
        CameraSettings(),
        slow(CameraSettings(codec="opus", rate=48_000, channels=2)),
        slow(CameraSettings(codec="l16", rate=44_100, picture=False)),
    ],
    ids=["pcmu with picture", "opus stereo", "l16"],
)
def test_a_camera_is_heard(settings: CameraSettings) -> None:
    with camera(settings) as it, listening(it.url) as reader:
        wait_for_tone(reader)
        assert reader.gaps == []
        rate, channels = settings.rate, settings.channels
        assert f"{rate} Hz, {channels} channel" in reader.sentences[-1]


@pytest.mark.slow
def test_aac_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "tone.aac"
    tone = ["-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=16000:duration=20"]
    subprocess.run(["ffmpeg", "-v", "error", *tone, str(path)], check=True)
    with camera(CameraSettings(codec=str(path))) as it, listening(it.url) as reader:
        wait_for_tone(reader)


def test_only_the_sound_is_asked_for() -> None:
    with camera(CameraSettings()) as it, relay_to(it.port) as relay:
        with listening(f"rtsp://127.0.0.1:{relay.port}/live") as reader:
            wait_for_tone(reader)
        assert b"".join(relay.requests).count(b"SETUP ") == 1


@pytest.mark.slow
def test_a_camera_that_sends_no_sound_alone_is_asked_for_the_picture_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.audio.sources.network._OPENING_SECONDS", 2.0)
    with camera(CameraSettings()) as it, relay_to(it.port) as relay:
        relay.mute_without_picture = True
        with listening(f"rtsp://127.0.0.1:{relay.port}/live") as reader:
            wait_for_tone(reader)
            relay.holds = True
            reader.wait_until(lambda: len(reader.gaps) > 0)
            relay.holds = False
            wait_for_tone(reader)
    assert caplog.text.count("it is asked for the picture too") == 1


def cut(it: Camera, _: Relay) -> Callable[[], None]:
    it.stop()
    return it.start


def freeze(it: Camera, _: Relay) -> Callable[[], None]:
    it.freeze()
    return it.thaw


def half_open(_: Camera, relay: Relay) -> Callable[[], None]:
    relay.holds = True

    def again() -> None:
        relay.holds = False

    return again


def other_codec(it: Camera, _: Relay) -> Callable[[], None]:
    it.stop()
    settings = CameraSettings(codec="opus", rate=48_000, channels=2)
    return lambda: it.start(settings)


@pytest.mark.parametrize(
    ("fault", "first_reason", "sentence"),
    [
        (cut, "ended", "cannot be reached: Connection refused"),
        slow(freeze, "stalled", "delivered nothing"),
        slow(half_open, "stalled", "delivered nothing"),
        slow(other_codec, "ended", "cannot be reached: Connection refused"),
    ],
)
def test_a_fault_is_one_loss_and_the_camera_is_back_soon(
    fault: Callable[[Camera, Relay], Callable[[], None]],
    first_reason: str,
    sentence: str,
) -> None:
    with camera() as it, relay_to(it.port) as relay:
        url = it.url if fault in (cut, freeze, other_codec) else ""
        with listening(url or f"rtsp://127.0.0.1:{relay.port}/live") as reader:
            wait_for_tone(reader)
            end_of_fault = fault(it, relay)
            reader.wait_until(lambda: any(sentence in it for it in reader.sentences))
            end_of_fault()
            back = time.monotonic()
            reader.wait_for_reopenings(1)
            assert time.monotonic() - back < BACK_SECONDS
            wait_for_tone(reader)
            assert len(joined(reader.gaps)) == 1
            assert reader.gaps[0].reason == first_reason


@pytest.mark.slow
def test_the_place_of_a_sound_after_a_cut_is_that_of_the_clock() -> None:
    with camera() as it, listening(it.url) as reader:
        began = time.monotonic()
        wait_for_tone(reader)
        it.stop()
        time.sleep(1)
        it.start()
        reader.wait_for_reopenings(1)
        wait_for_tone(reader)
        positions = reader.items[-1].stop - reader.blocks[0].start
        assert positions / RATE == pytest.approx(time.monotonic() - began, abs=1.5)


@pytest.mark.slow
def test_too_slow_a_network_is_a_gap_and_not_a_delay() -> None:
    settings = CameraSettings(codec="l16", rate=44_100)
    with camera(settings) as it, relay_to(it.port) as relay:
        relay.bytes_per_second = 60_000  # of 88,200
        with listening(f"rtsp://127.0.0.1:{relay.port}/live") as reader:
            reader.wait_until(lambda: len(reader.gaps) > 0)


def test_a_camera_without_sound_says_so() -> None:
    with camera(CameraSettings(codec=None)) as it, listening(it.url) as reader:
        reader.wait_until(lambda: len(reader.sentences) > 1)
        assert "offers no sound, only a picture (JPEG)" in reader.sentences[1]
        it.stop()
        it.start(CameraSettings())
        wait_for_tone(reader)


LOCKED = replace(SOUND_ALONE, user="admin", password=PASSWORD)
LOGIN = {"username": "admin", "password": "env:GATE"}


def test_a_password_of_any_characters_is_in_no_argument_and_no_sentence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with camera(LOCKED) as it, listening(it.url, PASSWORD, **LOGIN) as reader:
        wait_for_tone(reader)
        arguments = [
            " ".join(child.cmdline()) + str(child.environ())
            for child in psutil.Process().children(recursive=True)
            if "ffmpeg" in " ".join(child.cmdline())
        ]
        it.stop()
        reader.wait_until(lambda: len(reader.sentences) > 2)
    assert len(arguments) == 2  # the subreaper, and ffmpeg
    said = " ".join([*arguments, *reader.sentences, caplog.text])
    assert "p@ss" not in said
    assert "p%40ss" not in said
    assert "admin" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("login", "password", "sentence"),
    [
        ({}, None, "wants a login (401 Unauthorized): set username and password"),
        (LOGIN, "wrong", "refuses this user or password (401 Unauthorized)"),
    ],
)
def test_a_refused_login_is_not_tried_again_at_once(
    login: dict[str, str], password: str | None, sentence: str
) -> None:
    with camera(LOCKED) as it, relay_to(it.port) as relay:
        url = f"rtsp://127.0.0.1:{relay.port}/live"
        with listening(url, password, **login) as reader:
            reader.wait_until(lambda: len(reader.sentences) > 1)
            assert sentence in reader.sentences[1]
            connections = relay.connections
            time.sleep(1.5)
            assert relay.connections == connections


@pytest.mark.slow
def test_an_unknown_path_is_named() -> None:
    with camera() as it, listening(f"{it.url}/other") as reader:
        reader.wait_until(lambda: len(reader.sentences) > 1)
        assert "has no stream at this path (404 Not Found)" in reader.sentences[1]


@pytest.mark.parametrize(
    "ending", ["mp3", *map(slow, sorted(FORMATS.keys() - {"mp3"}))]
)
def test_a_stream_by_http_is_heard(ending: str, tmp_path: Path) -> None:
    raw = {"sample_rate": 22_050} if ending == "pcm" else {}
    with streams(tmp_path) as url, listening(f"{url}/live.{ending}", **raw) as reader:
        wait_for_tone(reader)
        assert "22050 Hz, 1 channel" in reader.sentences[-1]


@pytest.mark.slow
def test_a_playlist_is_heard_in_real_time(tmp_path: Path) -> None:
    with playlist(tmp_path), streams(tmp_path) as server:
        url = f"{server}/live.m3u8"
        with listening(url, stall_seconds=None) as reader:
            wait_for_tone(reader, 0.5)
            began = time.monotonic()
            wait_for_tone(reader, 2.0)
            assert time.monotonic() - began > 1.5  # and not segment by segment
            assert reader.gaps == []


def test_a_recording_by_http_is_played_at_its_own_pace(tmp_path: Path) -> None:
    """However fast the server sends it: a sound has the time of its arrival."""
    soundfile.write(tmp_path / "a.wav", np.zeros(60 * 22_050), 22_050)
    began = time.monotonic()
    with streams(tmp_path) as url, listening(f"{url}/a.wav") as reader:
        reader.wait_until(lambda: heard_seconds(reader) > 2.0)
        assert heard_seconds(reader) < time.monotonic() - began + 1.0


@pytest.mark.slow
def test_a_stream_by_http_with_a_password_is_heard(tmp_path: Path) -> None:
    with streams(tmp_path, f"admin:{PASSWORD}") as url:
        with listening(f"{url}/live.mp3", PASSWORD, **LOGIN) as reader:
            wait_for_tone(reader)
        with listening(f"{url}/live.mp3") as reader:
            reader.wait_until(lambda: len(reader.sentences) > 1)
            assert "wants a login (401 Unauthorized)" in reader.sentences[1]
