"""What is to be heard as raw samples, and says itself that it is something else."""

from pathlib import Path

import pytest

from monitor.audio.sources.network import Network
from monitor.commands.source_trial import try_sources
from monitor.config.audio import SourceSettings
from tests.support.stream_server import streams


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"OggS\0\2\0\0", "is Ogg, no raw samples; remove sample_rate"),
        (
            b"ID3\4\0\0\0\0\0\0\xff\xfb\x90\x64",
            "is MP3, no raw samples; remove sample_rate",
        ),
        (b"\xff\xfb\x90\x64", "is MP3, no raw samples"),
        (b"<!DOCTYPE html>", "is a web page, no raw samples"),
    ],
)
def test_what_is_no_raw_stream_is_named(
    head: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "live").write_bytes(head.ljust(64_000, b"\1"))
    with streams(tmp_path) as url:
        settings = SourceSettings(name="gate", input=f"{url}/live", sample_rate=16_000)
        (trial,) = try_sources([Network(settings, None)])
    assert sentence in trial.sentence


def test_a_web_page_in_place_of_a_stream_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "live").write_text("<!DOCTYPE html><html>" + "hello " * 500)
    with streams(tmp_path) as url:
        settings = SourceSettings(name="gate", input=f"{url}/live")
        (trial,) = try_sources([Network(settings, None)])
    assert "perhaps a web page" in trial.sentence
