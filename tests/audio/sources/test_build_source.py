"""The input says what kind of source it is; impossible ones are refused at once."""

from pathlib import Path

import pytest
import soundfile

from monitor.audio.sources import build_source
from monitor.audio.sources.source import Source
from monitor.config.config import SourceSettings
from monitor.errors import AudioFileError, UsageError
from tests.support.programs import program
from tests.support.signals import sine


def build(text: str) -> Source:
    settings = SourceSettings(name="street", input=text)
    return build_source(settings, "max", lambda: 0.0)


def test_each_kind_of_input_is_built(tmp_path: Path) -> None:
    path = tmp_path / "a: b.wav"
    soundfile.write(path, sine(440, 0.1)[0], 44_100)
    inputs = ["mic:default", f"command:{program('')}", f"file:{path}", "demo:"]
    sources = [build(text) for text in inputs]
    assert [source.live for source in sources] == [True, True, False, False]
    assert "microphone 'default'" in sources[0].description
    assert "a: b.wav" in sources[2].description


def test_an_absent_microphone_is_no_error() -> None:
    assert build("mic:nobody has such a microphone").live


@pytest.mark.parametrize(
    "text", ["mic:0", "command:no-such-program", "file:/no/such/file.wav"]
)
def test_what_can_never_be_heard_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        build(text)


def test_what_is_no_recording_is_told_when_it_is_built(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioFileError):
        build(f"file:{tmp_path / 'a.wav'}")
