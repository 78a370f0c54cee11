"""The application: every page of the navigation, its files, its languages."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from monitor.config.config import Config
from monitor.web.app import build_app
from monitor.web.context import WebContext


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    context = WebContext(
        config=Config(),
        state_dir=tmp_path,
        database=tmp_path / "monitor.db",
        clips=None,
        sockets=(tmp_path / "status.sock",),
        version="1.2.3",
    )
    return TestClient(build_app(context))


def test_the_first_page_is_that_of_the_navigation(client: TestClient) -> None:
    assert client.get("/").status_code == 200


def test_the_page_is_in_the_language_of_the_browser(client: TestClient) -> None:
    german = client.get("/system", headers={"accept-language": "de-CH, en;q=0.5"})
    assert '<html lang="de">' in german.text
    assert "Geräuschmonitor" in german.text
    assert '<html lang="en">' in client.get("/system").text
