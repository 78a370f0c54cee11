"""The input gives the kind of source; impossible inputs are rejected at once."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from monitor.audio.sources.source import Source, build_source
from monitor.config.audio import SourceSettings
from monitor.errors import AudioFileError, UsageError
from tests.support.signals import sine
from tests.support.source_programs import program


def build(text: str, **settings: Any) -> Source:
    source = SourceSettings(name="street", input=text, **settings)
    return build_source(source, "max", lambda: 0.0)


def test_each_kind_of_input_is_built(tmp_path: Path) -> None:
    path = tmp_path / "a: b.wav"
    soundfile.write(path, sine(440, 0.1)[0], 44_100)
    inputs = ["mic:default", f"command:{program('')}", f"file:{path}", "demo:"]
    sources = [build(text) for text in inputs]
    assert "microphone 'default'" in sources[0].description
    assert "a: b.wav" in sources[2].description


def test_an_absent_microphone_is_no_error() -> None:
    assert "nobody" in build("mic:nobody has such a microphone").description


@pytest.mark.parametrize(
    "text", ["mic:0", "command:no-such-program", "file:/no/such/file.wav"]
)
def test_an_impossible_input_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        build(text)


def test_a_file_without_a_recording_is_rejected_at_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.wav").write_text("text")
    with pytest.raises(AudioFileError):
        build(f"file:{tmp_path / 'a.wav'}")


def test_the_settings_give_the_format_of_raw_samples() -> None:
    code = "put(struct.pack('<4f', 0.5, -0.5, 0.25, -0.25))"
    source = build(
        f"command:{program(code)}",
        sample_rate=16_000,
        channels=2,
        sample_format="f32le",
    )
    with closing(source.open()) as stream:
        samples = None
        while samples is None:
            samples = stream.read(1.0)
        assert isinstance(samples, np.ndarray)
        assert samples.tolist() == [[0.5, 0.25], [-0.5, -0.25]]
        assert stream.sample_rate == 16_000
