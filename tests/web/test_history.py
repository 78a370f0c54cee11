"""The pages Day and Diary show what the database has, and nothing that it lacks."""

import csv
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.web.app import build_app
from monitor.web.labels import label_rank
from tests.support.clock import FakeClock
from tests.support.levels import minutes, store_levels
from tests.support.store import make_store
from tests.support.timed import event, gap, timed
from tests.support.web import WebClient, make_context

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
DAY = "2026-11-23"
EN_DASH = chr(0x2013)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebClient:
    """A day with levels until noon, four sounds and a gap."""
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = MIDNIGHT
    store = make_store(tmp_path / "monitor.db", clock)
    starts = [(9.0, "drilling"), (9.05, "drilling"), (9.5, "drilling"), (11, "<b>")]
    for number, (hour, label) in enumerate(starts):
        found = event(number=number, label=label, start_seconds=3600 * hour, seconds=90)
        store.write([timed(replace(found.record, level_offset_db=94.0), MIDNIGHT)])
    store.write([timed(gap(start_seconds=3600, seconds=60).record, MIDNIGHT)])
    clock.wall = MIDNIGHT + timedelta(hours=12)
    store.close()
    levels = minutes(
        MIDNIGHT, 720, 61.5, lafmax_db=77.7, third_octaves_db=((40.0,) * 29,)
    )
    store_levels(tmp_path / "monitor.db", levels)
    return WebClient(build_app(make_context(tmp_path)))


def text_of(page: str) -> str:
    """The page without its tags, and with plain dashes."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    return text.replace(EN_DASH, "-")


def test_a_day_has_its_levels_and_sounds(client: WebClient) -> None:
    page = client.get(f"/day?date={DAY}").text
    text = text_of(page)
    assert "Monday, 2026-11-23" in text
    assert "Levels at street, dB(A)" in text
    # Half of the day was measured, of the hour of nine everything.
    assert "LAeq - 50.00 % of the period measured" in text
    assert "09:00 61.5 77.7 61.5 61.5 61.5 100 %" in text
    assert "13:00 - - - - - 0 %" in text
    assert "drilling 3 4 min 30 s 2026-11-23 09:00 2026-11-23 09:31" in text
    assert "<b>" not in page.partition("<main")[2]


def test_cells_and_totals_lead_to_their_events(client: WebClient) -> None:
    page = client.get(f"/day?date={DAY}").text
    hour = f"since={DAY}T09%3A00&amp;until={DAY}T10%3A00"
    for span in (hour, f"since={DAY}T00%3A00&amp;until=2026-11-24T00%3A00"):
        found = f'href="/events?label=drilling&amp;source=street&amp;{span}">3</a>'
        assert found in page
    listed = client.get(f"/events?label=drilling&since={DAY}T09:00&until={DAY}T10:00")
    assert listed.text.count('data-id="') == 3
    week = client.get(f"/day?date={DAY}&span=week&label=drilling&source=street").text
    assert week.count(hour) == 1
    year = client.get(f"/day?date={DAY}&span=year&label=drilling&source=street").text
    assert "since=2026-11-01T00%3A00&amp;until=2026-12-01T00%3A00" in year


def test_a_new_monitor_has_the_hour_so_far_and_no_empty_graph(tmp_path: Path) -> None:
    """The first minutes, of a source that is not configured."""
    make_store(tmp_path / "monitor.db", FakeClock()).close()
    start = datetime.now(UTC).replace(second=0, microsecond=0)
    start = start.replace(minute=0)
    store_levels(
        tmp_path / "monitor.db", minutes(start, 1, 61.5, lafmax_db=77.7, source="demo")
    )
    client = WebClient(build_app(make_context(tmp_path)))
    page = client.get("/day").text
    text = text_of(page)
    assert "Levels at demo" in text
    assert (
        "This hour so far, provisional: LAeq 61.5, LAFmax 77.7, from 1 min 00 s" in text
    )
    assert 'class="graph"' not in page or start.minute == 0
    assert "of the time so far measured" in text
    everything = text_of(client.get("/day?source=").text)
    assert "Levels at demo" in everything
    assert 'aria-label="After">' in page
    assert 'rel="next"' not in page


@pytest.mark.parametrize("span", ["week", "month", "year"])
def test_longer_spans_have_a_map_by_hour(client: WebClient, span: str) -> None:
    page = client.get(f"/day?date={DAY}&span={span}&label=drilling").text
    assert "drilling by hour" in text_of(page)
    first = {"week": DAY, "month": "2026-11-01", "year": "2026-01-01"}[span]
    assert f'<h1><time datetime="{first}"' in page
    if span != "year":
        assert f'<a href="/day?span=day&amp;date={DAY}' in page


def test_a_span_has_one_unit_and_says_what_it_leaves_out(
    client: WebClient, tmp_path: Path
) -> None:
    before = MIDNIGHT + timedelta(days=1)
    store_levels(tmp_path / "monitor.db", minutes(before, 1440, -40.0, offset_db=0.0))
    pages = [
        client.get(f"/day?date={DAY}&span=week").text,
        client.get(f"/diary?from={DAY}&to=2026-11-24").text,
    ]
    for text in map(text_of, pages):
        assert "-40.0" not in text
        assert "left out" in text
    alone = text_of(client.get("/day?date=2026-11-24").text)
    assert "Levels at street, dBFS(A)" in alone
    assert "LAeq -40.0" in alone
    assert "left out" not in alone


def test_the_map_of_a_year_has_a_cell_for_each_hour_with_a_sound(
    client: WebClient,
) -> None:
    found = json.loads(
        client.get(f"/day/cells.json?date={DAY}&span=year&label=drilling").text
    )
    day = datetime(2026, 11, 23, tzinfo=UTC).timetuple().tm_yday - 1
    assert found == {"days": 365, "cells": [[day, 9, 5]]}


@pytest.mark.parametrize(
    "path",
    [
        "/day?date=never",
        "/day?date=0001-01-01",
        "/diary?from=2026-11-23&to=2026-11-01",
        "/diary?from=2020-01-01&to=2026-11-01",
        "/diary?pause=-1",
        "/diary?pause=99999999999",
        "/diary?pause=0000009999999999",
        "/diary?pause=1441",
        "/diary?after=25&before=6",
    ],
)
def test_a_query_that_is_none_is_refused(client: WebClient, path: str) -> None:
    assert client.get(path).status_code == 400


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/diary?from=2026-11-23&to=2026-11-01", "From: 2026-11-23 is later than"),
        ("/diary?from=1900-01-01", "From: 1900-01-01 is no date from 1990 to 2200."),
        ("/diary?after=25&before=6", "Hours from: 25 is no whole number from 0 to 24."),
        ("/diary?after=22", "Hours to: This hour is missing; both are needed."),
        ("/day?date=never", "Date: never is no date from 1990 to 2200."),
    ],
)
def test_a_form_names_its_wrong_field_and_stays(
    client: WebClient, path: str, sentence: str
) -> None:
    page = client.get(path).text
    assert sentence in page
    assert "<form action" in page


def test_a_source_that_is_unknown_has_nothing(client: WebClient) -> None:
    page = client.get(f"/day?date={DAY}&source=%3Cscript%3E")
    assert page.status_code == 200
    assert "No levels were measured here" in page.text
    assert "<script>" not in page.text.partition("<main")[2].partition("</main")[0]


def test_a_diary_has_incidents_and_what_they_rest_on(client: WebClient) -> None:
    text = text_of(client.get(f"/diary?from={DAY}&to={DAY}").text)
    assert (
        "2026-11-23 09:00 - 09:04 drilling street 2 3 min 00 s 67 % 63.3 - dB(A)"
        in text
    )
    assert "measured 50.00 % of the time" in text
    assert "by the offset of 94.0 dB that the operator set; not checked" in text
    # The day in a line, and no share of what sounded once.
    assert "2026-11-23 drilling street 2 4 min 30 s 63.3 - dB(A)" in text
    assert "2026-11-23 09:30 - 09:31 drilling street 1 1 min 30 s 63.3" in text
    assert "2026-11-23 01:00 - 01:01 street 1 min 00 s the source was gone" in text
    assert "the monitor did not run" in text


@pytest.mark.parametrize(
    ("query", "starts"),
    [
        ("", ["09:00", "09:30", "11:00"]),
        ("after=22&before=6", []),
        ("after=9&before=10", ["09:00", "09:30"]),
        ("after=10&before=9", ["11:00"]),
        ("shortest=100", ["09:00"]),
    ],
)
def test_a_diary_of_some_hours_and_of_what_lasts(
    client: WebClient, query: str, starts: list[str]
) -> None:
    answer = client.get(f"/diary.csv?from={DAY}&to={DAY}&{query}").text
    rows = [row for row in csv.DictReader(answer.splitlines()) if row["label"]]
    assert [row["start"][11:16] for row in rows] == starts


def test_a_diary_names_its_place_and_who_keeps_it(client: WebClient) -> None:
    page = client.get(f"/diary?from={DAY}&to={DAY}&place=%3Ci%3EHill+1&name=Jo").text
    assert "<h1>Noise diary: &lt;i&gt;Hill 1</h1>\n<p>Kept by Jo</p>" in page


def test_a_longer_pause_joins_more(client: WebClient) -> None:
    text = text_of(client.get(f"/diary?from={DAY}&to={DAY}&pause=30").text)
    assert "2026-11-23 09:00 - 09:31 drilling street 3" in text


def test_the_table_of_a_diary_is_a_download(client: WebClient) -> None:
    answer = client.get(f"/diary.csv?from={DAY}&to={DAY}&label=drilling")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="noise-diary-2026-11-23-2026-11-23.csv"'
    )
    rows = list(csv.DictReader(answer.text.splitlines()))
    incidents = [row for row in rows if row["kind"] == "incident"]
    assert [row["label"] for row in incidents] == ["drilling", "drilling"]


def test_the_table_of_a_diary_says_what_it_rests_on(client: WebClient) -> None:
    place = "place=Hof&name=Jo"
    answer = client.get(f"/diary.csv?from={DAY}&to={DAY}&{place}").text
    rows = {row["kind"]: row for row in csv.DictReader(answer.splitlines())}
    assert rows["diary"]["note"] == "Hof, kept by Jo"
    assert rows["source"]["note"] == (
        "measured 50.00 % of the time; dB(A), offset 94 dB, not checked by a calibrator"
    )
    assert rows["source"]["unit"] == "dB(A)"


def test_a_label_has_its_colour_on_the_page_day_too(client: WebClient) -> None:
    page = client.get(f"/day?date={DAY}").text
    assert f'<tr class="rank-{label_rank("drilling")}">' in page


def test_a_cell_is_the_darker_the_longer_it_sounded(client: WebClient) -> None:
    """Of 270 s and 90 s, by the root."""
    page = client.get(f"/day?date={DAY}").text
    heats = re.findall(r"heat-(\d)[^>]*><a", page)
    assert heats == ["5", "3"]


def test_a_source_of_the_database_can_be_chosen(client: WebClient) -> None:
    page = client.get(f"/day?date={DAY}&source=cellar").text
    assert "<option>street</option>" in page
    assert "<option selected>cellar</option>" in page


def test_a_share_that_is_nearly_none_is_written_once(tmp_path: Path) -> None:
    """It was escaped twice, and was another figure in the diary."""
    store_levels(tmp_path / "monitor.db", minutes(MIDNIGHT, 10, -40.0, offset_db=0.0))
    client = WebClient(build_app(make_context(tmp_path)))
    day = client.get(f"/day?date={DAY}").text
    assert "0.69 % of the period measured" in day
    diary = client.get(f"/diary?from={DAY}&to={DAY}").text
    assert "measured 0.69 % of the time" in diary
    assert "<strong>Not calibrated.</strong>" in diary


def test_numbers_are_written_as_in_german(client: WebClient) -> None:
    page = client.get(f"/day?date={DAY}", headers={"accept-language": "de"}).text
    assert "61,5" in page
    assert 'data-y="61.5"' in page


@pytest.mark.parametrize("span", ["day", "week", "year"])
def test_a_day_that_never_was_has_nothing(
    client: WebClient, monkeypatch: pytest.MonkeyPatch, span: str
) -> None:
    """Samoa moved across the date line, and left out a day."""
    monkeypatch.setenv("TZ", "Pacific/Apia")
    time.tzset()
    assert client.get(f"/day?date=2011-12-30&span={span}").status_code == 200
    address = "/diary?from=2011-12-30&to=2011-12-30"
    assert client.get(address).status_code == 200
    assert client.get(address.replace("?", ".csv?")).status_code == 200
