"""The application: every page of the navigation, its files, its languages."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor.web.app import build_app
from monitor.web.rendering import device_zone
from tests.support.web import WebClient, make_context


@pytest.fixture
def client(tmp_path: Path) -> WebClient:
    return WebClient(build_app(make_context(tmp_path)))


def test_the_first_page_is_that_of_the_navigation(client: WebClient) -> None:
    assert "<title>Now " in client.get("/").text


def test_the_page_is_in_the_language_of_the_browser(client: WebClient) -> None:
    german = client.get("/system", headers={"accept-language": "de-CH, en;q=0.5"})
    assert '<html lang="de">' in german.text
    assert "Geräuschmonitor" in german.text
    assert '<html lang="en">' in client.get("/system").text


def test_it_needs_neither_arrays_nor_a_network() -> None:
    heavy = {"numpy", "httpx", "onnxruntime", "soundfile", "PIL", "rich"}
    script = "import sys, monitor.web.server; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert heavy & set(result.stdout.split()) == set()


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":/usr/share/zoneinfo/Asia/Kolkata", "Asia/Kolkata"),
        ("IST-5:30", "+05:30"),
        ("UTC0", "UTC"),
    ],
)
def test_a_zone_without_a_name_has_its_offset(
    monkeypatch: pytest.MonkeyPatch, zone: str, name: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert device_zone() == name
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("path", ["/events", "/day", "/diary"])
def test_without_a_database_every_page_says_so(tmp_path: Path, path: str) -> None:
    """A page that a browser asks for is no failure; a script gets the sentence."""
    browser = {"accept": "text/html"}
    for more, title in (
        ({}, "Nothing has been stored yet"),
        ({"database": None}, "store.path is null"),
    ):
        client = WebClient(build_app(make_context(tmp_path, **more)))
        page = client.get(path, headers=browser)
        assert page.status_code == 200
        assert title in page.text
        answer = client.get(path)
        assert answer.status_code == 503
        assert title in answer.json()["sentence"]
    (tmp_path / "monitor.db").write_text("no database")
    client = WebClient(build_app(make_context(tmp_path)))
    damaged = client.get(path, headers=browser)
    assert damaged.status_code == 503
    assert "The database cannot be read" in damaged.text
