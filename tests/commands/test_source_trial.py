"""A trial says what a source delivers, and who has it in use."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile

from monitor.audio.sources.source import Source, build_source
from monitor.audio.sources.udp import Udp
from monitor.commands.configuration import Configuration
from monitor.commands.source_trial import try_configured, try_sources
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.outputs import StatusSettings
from monitor.sinks.status_client import NAME
from tests.support.endpoint import unused_port
from tests.support.signals import sine
from tests.support.status_server import running
from tests.support.stream_server import streams

RATE = 16_000


@contextmanager
def used_port() -> Iterator[Source]:
    """A source at a port that something else listens at."""
    source = Udp(f"udp:127.0.0.1:{unused_port()}", RATE, 1)
    with closing(source.open()):
        yield source


@pytest.mark.parametrize(
    ("name", "works", "sentence"),
    [
        ("street", True, "in use by the running monitor (listening)"),
        ("yard", False, "Address already in use"),
    ],
)
def test_a_port_of_the_running_monitor_is_in_use_and_not_broken(
    tmp_path: Path, name: str, works: bool, sentence: str
) -> None:
    config = Config(status=StatusSettings(socket=NAME))
    configuration = Configuration(config, tmp_path, None, "for a test")
    with running(tmp_path / NAME), used_port() as source:
        trial = try_configured({name: source}, configuration)[name]
    assert (trial.works, trial.in_use) == (works, True)
    assert trial.sentence == f"{source.description}: {sentence}"


def test_a_port_is_in_use_also_without_a_monitor(tmp_path: Path) -> None:
    config = Config(status=StatusSettings(socket=NAME))
    configuration = Configuration(config, tmp_path, None, "for a test")
    with used_port() as source:
        trial = try_configured({"street": source}, configuration)["street"]
    assert not trial.works
    assert trial.sentence.endswith("Address already in use")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {},
            "is a recording of 0.5 s, which is over: it is played again from the "
            "start each time",
        ),
        ({"username": "me"}, "closed the connection"),  # ffmpeg says no duration
    ],
)
def test_a_recording_by_http_works_as_it_does_in_the_monitor(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    soundfile.write(tmp_path / "a.wav", sine(440, 0.5, sample_rate=RATE)[0], RATE)
    with streams(tmp_path) as url:
        it = SourceSettings(name="a", input=f"{url}/a.wav", **settings)
        source = build_source(it, "max", lambda: 0.0)
        (trial,) = try_sources([source])
    assert trial.works
    assert trial.sentence.startswith("offers pcm_s16le, 16000 Hz, mono")
    assert trial.sentence.endswith(f"; {source.description} {sentence}")
