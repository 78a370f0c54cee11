"""What a row of the page Events says, and what it offers to whom."""

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.records import Event
from monitor.web.app import build_app
from tests.support.store import make_store
from tests.support.timed import event, onset
from tests.support.web import (
    PASSWORD,
    VIEWER_PASSWORD,
    WebClient,
    make_context,
    set_passwords,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An event that a reload has ended, and one that goes on."""
    store = make_store(tmp_path / "monitor.db")
    ended = event(number=1)
    assert isinstance(ended.record, Event)
    record = replace(ended.record, end_reason="reloaded")
    store.write([replace(ended, record=record), onset(number=2, start_seconds=90.0)])
    store.close()
    return tmp_path


def row(folder: Path, number: int, **changes: object) -> str:
    client = WebClient(build_app(make_context(folder, **changes)))
    return client.get(f"/events/rows?id=session-street-{number}").text


def test_a_sound_that_goes_on_has_no_level_yet(folder: Path) -> None:
    assert "63 dBFS(A)" in row(folder, 1)
    assert "63 dBFS(A)" not in row(folder, 2)


def test_an_event_says_in_its_row_that_a_reload_has_ended_it(folder: Path) -> None:
    assert "ended by a change of settings" in row(folder, 1)
    assert "ended by a change of settings" not in row(folder, 2)


def test_without_clips_an_event_says_how_its_sound_is_kept(folder: Path) -> None:
    assert "`privacy: clips` in the configuration keeps" in row(folder, 1)
    assert "No sound of this event is kept" in row(folder, 1, clips=folder)
    assert "sound" not in row(folder, 2, clips=folder).partition("detail-body")[2]


def test_who_only_looks_has_no_boxes(folder: Path) -> None:
    context = make_context(folder)
    set_passwords(context)
    for password, has_boxes in ((PASSWORD, True), (VIEWER_PASSWORD, False)):
        client = WebClient(build_app(context))
        client.log_in(password)
        text = client.get("/events").text
        assert ('type="checkbox"' in text) == has_boxes
