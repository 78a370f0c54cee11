"""`devices --cameras` lists what announces itself, and says what it lacks."""

import importlib.util
import json

import pytest

from monitor.audio.sources import discovery
from monitor.audio.sources.discovery import AnnouncedCamera
from tests.support.commands import fails, run

GATE = AnnouncedCamera("Gate", "rtsp://10.0.0.9:554/")


def test_without_the_extra_a_sentence_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, sentence = fails(capsys, "devices", "--cameras")
    assert code == 2
    assert "--cameras: needs the extra network, which is not installed" in sentence


@pytest.mark.parametrize(
    ("found", "line"),
    [([GATE], "Gate  rtsp://10.0.0.9:554/"), ([], "no camera announces itself")],
)
def test_the_cameras_are_a_table(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    found: list[AnnouncedCamera],
    line: str,
) -> None:
    pytest.importorskip("zeroconf")
    monkeypatch.setattr(discovery, "find_cameras", lambda: found)
    assert line in run(capsys, "devices", "--cameras")
    printed = json.loads(run(capsys, "devices", "--cameras", "--json"))
    assert printed == [{"name": it.name, "url": it.url} for it in found]
