"""The page Events: what it lists, and what of a clip it gives to whom."""

import os
import re
from contextlib import closing
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest

from monitor.records import Event
from monitor.sinks.clip_files import prepare, save
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.reviews import write_lock, write_verdict
from monitor.web.app import build_app
from monitor.web.labels import KnownLabel
from monitor.web.pages.events import PAGE_EVENTS
from tests.support.clips import identifier, make_clip
from tests.support.store import make_store
from tests.support.timed import LABELS, OPENED, event, onset, timed
from tests.support.web import (
    PASSWORD,
    VIEWER_PASSWORD,
    WebClient,
    make_context,
    set_passwords,
)

COUNT = 100
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(autouse=True)
def few_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels of a model with one group."""
    known = [
        KnownLabel("animal", None, "An animal."),
        KnownLabel("dog_bark", "animal", "A dog that barks."),
    ]
    monkeypatch.setattr("monitor.web.pages.events.known_labels", lambda: known)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred events, ten seconds after each other; the last one goes on."""
    path = tmp_path_factory.mktemp("events") / "monitor.db"
    store = make_store(path)
    for number in range(COUNT):
        timed = event(
            number=number,
            label="siren" if number % 2 else "dog_bark",
            start_seconds=10.0 * number,
        )
        assert isinstance(timed.record, Event)
        record = replace(timed.record, peak_score=number / COUNT)
        store.write([replace(timed, record=record)])
    hostile = event("yard", HOSTILE, 995.0, number=0)
    store.write([hostile, onset(number=COUNT, start_seconds=1000.0)])
    store.close()
    with closing(Database(path).connect()) as connection, transaction(connection):
        for verdict, label, number in (
            ("right", None, 1),
            ("wrong", None, 2),
            ("label", "car_horn", 3),
        ):
            write_verdict(connection, [identifier(number)], verdict, label, now=OPENED)
        write_lock(connection, [identifier(1)], locked=True, now=OPENED)
    return path


@pytest.fixture
def client(stored: Path) -> WebClient:
    return WebClient(build_app(make_context(stored.parent)))


def ids(text: str) -> list[str]:
    return re.findall(r'data-id="([^"]*)"', text)


def numbers(text: str) -> list[int]:
    return [int(each.rpartition("-")[2]) for each in ids(text)]


def older(text: str) -> str:
    found = re.search(r'data-older="([^"]*)"', text)
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("label=siren&min_score=0.9", [100, 99, 97, 95, 93, 91]),
        ("label=dog_bark&label=siren&min_score=0.97", [99, 98, 97]),
        ("label=animal&min_score=0.95", [98, 96]),
        ("source=yard", [0]),
        ("review=yes", [3, 2, 1]),
        ("review=wrong", [2]),
        ("review=label&label=siren", [3]),
        ("review=no&min_score=0.98", [99, 98]),
        ("since=2026-11-23T06:12:10Z", [100, 0, 99, 98, 97]),
        ("until=2026-11-23T05:56:25%2B00:00", [2, 1, 0]),
        ("id=session-street-7&id=session-street-8&label=siren", [7]),
        ("id=session-street-2&review=wrong", [2]),
        ("label=&source=&review=&min_score=&since=&until=&id=session-street-4", [4]),
    ],
)
def test_an_address_chooses_events(
    client: WebClient, query: str, expected: list[int]
) -> None:
    found = numbers(client.get(f"/events/rows?{query}").text)
    assert found == expected


def test_what_is_newer_than_an_event_comes_with_what_may_be_late(
    client: WebClient,
) -> None:
    key = re.search(
        r'data-key="([^"]*)"', client.get("/events?until=2026-11-23T06:12Z").text
    )
    assert key is not None
    found = numbers(client.get(f"/events/rows?after={key[1]}&source=street").text)
    assert found == list(range(100, 91, -1))
    late = client.get(f"/events/rows?after={key[1]}&since=2026-11-23T06:12:10Z")
    assert numbers(late.text) == [100, 0, 99, 98, 97]


def test_pages_are_the_whole_list_cut_in_pieces(client: WebClient) -> None:
    text = client.get("/events").text
    found = ids(text)
    assert len(found) == PAGE_EVENTS
    while key := older(text):
        text = client.get(f"/events/rows?before={key}").text
        found += ids(text)
    assert found == [
        identifier(COUNT),
        identifier(0, "yard"),
        *(identifier(number) for number in reversed(range(COUNT))),
    ]


def test_the_older_events_are_a_link_that_keeps_the_filter(client: WebClient) -> None:
    text = client.get("/events?label=siren").text
    link = re.search(r'id="older" href="([^"]*)"', text)
    assert link is not None
    following = client.get(unescape(link[1])).text
    assert numbers(following) == list(range(61, 21, -2))
    assert 'href="/events?label=siren"' in following


def test_an_event_has_its_facts(client: WebClient) -> None:
    text = client.get("/events/rows?id=session-street-3").text
    for fact in (
        'datetime="2026-11-23T05:56:30.000Z"',
        "6.7 s",
        "0.03",
        "63 dBFS(A)",
        "siren 0.93, car horn 0.20, street music 0.10",
        'data-verdict="label"',
        'data-true-label="car_horn"',
        'data-true-name="car horn"',
    ):
        assert fact in text
    assert 'data-locked="yes"' in client.get("/events/rows?id=session-street-1").text
    assert "going on" in client.get("/events/rows?id=session-street-100").text


def test_labels_have_the_viewers_language(client: WebClient) -> None:
    german = {"accept-language": "de"}
    text = client.get("/events/rows?id=session-street-3", headers=german).text
    assert "Sirene" in text
    assert 'data-true-name="Autohupe"' in text


def test_a_hostile_label_is_text(client: WebClient) -> None:
    address = f"/events?label={quote(HOSTILE)}&source={quote(HOSTILE)}"
    for path in ("/events", "/events/rows", address, f"/events?review={HOSTILE}"):
        text = client.get(path).text
        assert "onerror" in text
        assert "<img src=x" not in text
        assert 'onerror="alert' not in text


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("min_score=high", "high ist kein Wert von 0 bis 1"),
        ("min_score=2", "2 ist kein Wert von 0 bis 1"),
        ("min_score=nan", "nan ist kein Wert von 0 bis 1"),
        ("since=yesterday", "yesterday ist kein Datum"),
        ("until=9999-01-01", "9999-01-01 ist kein Datum"),
        ("review=maybe", "nicht maybe"),
        ("before=1-2-3", "1-2-3 ist keine Stelle"),
        (f"before={10**30}-1", "ist keine Stelle"),
        ("&".join(f"label={number}" for number in range(21)), "label: mehr als 20"),
        (f"source={'x' * 101}", "mehr als 100 Zeichen"),
        ("label=siren&label=nosuch", "Kein Geräusch heißt nosuch."),
        ("source=cellar", "Keine Quelle heißt cellar."),
        ("since=2026-11-23T06:00&until=2026-11-23T05:00", "06:00 ist nicht vor 2026"),
    ],
)
def test_a_wrong_filter_is_a_sentence_in_the_language_of_the_page(
    client: WebClient, query: str, sentence: str
) -> None:
    for path in ("/events", "/events/rows"):
        answer = client.get(f"{path}?{query}", headers={"accept-language": "de"})
        assert answer.status_code == 400
        assert sentence in answer.text


def test_numbers_are_written_as_in_the_language_of_the_page(client: WebClient) -> None:
    path = f"/events/rows?id={identifier(5)}"
    assert "0.05" in client.get(path).text
    german = client.get(path, headers={"accept-language": "de"}).text
    assert "0,05" in german
    assert "0.05" not in german


def test_a_score_reaches_what_the_list_shows(tmp_path: Path) -> None:
    store = make_store(tmp_path / "monitor.db")
    for number, score in enumerate((0.9859, 0.9849)):
        record = replace(event(number=number).record, peak_score=score)
        store.write([timed(record, OPENED)])
    store.close()
    client = WebClient(build_app(make_context(tmp_path)))
    assert numbers(client.get("/events?min_score=0.99").text) == [0]


def test_the_verdicts_of_the_chosen_label_are_counted(client: WebClient) -> None:
    text = client.get("/events?label=siren").text
    assert "siren: 1 right, 0 wrong, 1 another label" in text
    assert "another label</summary>" not in client.get("/events").text


def test_all_known_labels_can_be_the_right_one(client: WebClient) -> None:
    found = client.get("/events/labels").json()
    assert {each["label"] for each in found} == {*LABELS, HOSTILE, "animal"}
    assert {"label": "dog_bark", "name": "dog bark", "text": "A dog that barks."} in (
        found
    )


def test_a_viewer_gets_no_buttons(stored: Path, tmp_path: Path) -> None:
    context = make_context(tmp_path, database=stored)
    set_passwords(context)
    app = build_app(context)
    for password, may_review in ((PASSWORD, True), (VIEWER_PASSWORD, False)):
        someone = WebClient(app)
        someone.log_in(password)
        text = someone.get(f"/events/rows?id={identifier(3)}").text
        assert numbers(text) == [3]
        assert ('data-act="right"' in someone.get("/events").text) is may_review


# --- Clips ---


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    prepare(folder)
    for number in (5, 6):
        save(folder, make_clip(number))
    save(folder, make_clip(7, event_id="another-event"))
    return folder


@pytest.fixture
def listener(stored: Path, clips: Path) -> WebClient:
    return WebClient(build_app(make_context(stored.parent, clips=clips)))


def sound(number: int) -> str:
    return f"/events/sound?id={identifier(number)}"


def test_a_clip_is_found_by_the_id_of_its_event(
    listener: WebClient, clips: Path
) -> None:
    files = sorted(clips.glob("*.flac"))
    answer = listener.get(sound(5))
    assert answer.content == files[0].read_bytes()
    assert answer.headers["content-type"] == "audio/flac"
    assert answer.headers["cache-control"] == "no-store"
    picture = listener.get(f"/events/spectrogram?id={identifier(6)}")
    assert picture.content == files[1].with_suffix(".png").read_bytes()
    row = listener.get(f"/events/rows?id={identifier(5)}").text
    assert 'viewBox="0 0 5.0 1"' in row
    assert '<rect class="sound-event" x="2.0" width="3.0"' in row
    assert "<audio" not in listener.get(f"/events/rows?id={identifier(7)}").text


def test_a_player_can_ask_for_a_part(listener: WebClient, clips: Path) -> None:
    whole = min(clips.glob("*.flac")).read_bytes()
    part = listener.get(sound(5), headers={"range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole[100:200]
    beyond = listener.get(sound(5), headers={"range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    "wanted",
    ["", "../monitor.db", "session-street-7", "another-event", "session-street-8", "*"],
)
def test_nothing_else_is_given(listener: WebClient, wanted: str) -> None:
    for kind in ("sound", "spectrogram"):
        assert listener.get(f"/events/{kind}?id={quote(wanted)}").status_code == 404


def test_without_the_privacy_of_clips_there_is_no_sound(
    client: WebClient, clips: Path
) -> None:
    assert client.get(sound(5)).status_code == 404
    assert "<audio" not in client.get(f"/events/rows?id={identifier(5)}").text


def test_new_and_deleted_clips_are_noticed(listener: WebClient, clips: Path) -> None:
    assert listener.get(sound(8)).status_code == 404
    save(clips, make_clip(8))
    assert listener.get(sound(8)).status_code == 200
    for each in clips.glob("*.flac"):
        each.unlink()
    assert listener.get(sound(5)).status_code == 404


@pytest.mark.parametrize("kind", ["sound", "spectrogram"])
def test_a_clip_that_is_replaced_is_not_followed_and_not_waited_for(
    listener: WebClient, clips: Path, tmp_path: Path, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    address = f"/events/{kind}?id={identifier(5)}"
    path = min(clips.glob("*.flac" if kind == "sound" else "*.png"))
    assert listener.get(address).status_code == 200
    before = len([*Path("/dev/fd").iterdir()])
    path.unlink()
    path.symlink_to(secret)
    assert listener.get(address).status_code == 404
    path.unlink()
    os.mkfifo(path)
    assert listener.get(address).status_code == 404
    assert len([*Path("/dev/fd").iterdir()]) == before


@pytest.mark.timeout(20)
def test_a_pipe_among_the_clips_stops_nothing(listener: WebClient, clips: Path) -> None:
    for path in clips.glob("*.flac"):
        path.unlink()
        os.mkfifo(path)
    assert "<audio" not in listener.get(f"/events/rows?id={identifier(5)}").text
