"""The page System shows the status document, whatever is in it, to whoever may look."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor import __version__
from monitor.config.config import Config
from monitor.config.detection import ModelSettings
from monitor.sinks.status_client import no_answer
from monitor.web.app import build_app
from monitor.web.rendering import LANGUAGES
from tests.support.web import (
    PASSWORD,
    VIEWER_PASSWORD,
    WebClient,
    make_context,
    set_passwords,
)

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
TIME = "2026-11-30T14:50:45.627Z"


@contextmanager
def monitor_that_says(folder: Path, document: dict[str, Any]) -> Iterator[None]:
    """A status socket that answers with a document."""
    text = json.dumps(document).encode()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "status.sock"))
        listener.listen()

        def answer() -> None:
            while True:
                client, _ = listener.accept()
                with client:
                    if not client.recv(1024):
                        return
                    client.sendall(text)

        thread = threading.Thread(target=answer, name="status socket")
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(folder / "status.sock"))
            thread.join()


def status(**changes: Any) -> dict[str, Any]:
    trouble = {"kind": "clipping", "since": TIME, "detail": HOSTILE}
    source = {
        "name": HOSTILE,
        "state": "waiting",
        "detail": HOSTILE,
        "listening": False,
        "listened_24h": {"share": 0.5, "of_seconds": 10},
        "lost_seconds": 3.0,
        "gaps": 2,
        "losses": {"stalled": {"gaps": 2, "samples": 9, "seconds": 3.0}},
        "backlog_seconds": 0.5,
        "level_dbfs": -20.7,
        "laeq_db": None,
        "noise_floor_dbfs": -61.6,
        "canary": {"time": TIME, "ok": False, "detail": HOSTILE},
        "troubles": [trouble],
    }
    endpoint = {"pending": 1, "dead": 2, "oldest_pending": TIME}
    return {
        "schema": 1,
        "running": True,
        "listening": False,
        "sentence": HOSTILE,
        "version": __version__,
        "time": TIME,
        "since": TIME,
        "configuration": HOSTILE,
        "overrides": "sensitivity of siren 0.7",
        "sources": [source],
        "latency_seconds": {"p50": 0.07, "p95": None},
        "real_time_factor": 0.01,
        "queues": {"disk": 3},
        "troubles": [trouble],
        "model": {
            "name": HOSTILE,
            "labels": ["siren"],
            "compute_device": "cpu",
            "failed_compute_device": "cuda",
        },
        "process": {
            "rss_bytes": 2**27,
            "open_files": None,
            "threads": 6,
            "cpu_share": 0.1,
        },
        "outbox": {"endpoints": {HOSTILE: endpoint}},
        "mqtt": {"target": "mqtt://b:1883", "problem": HOSTILE},
        "disk": {"state_dir": HOSTILE, "free_bytes": 2**34, "database_bytes": None},
        "watchdog": {"limit_seconds": 30},
        "reload": {"time": TIME, "outcome": "rejected", "detail": HOSTILE},
        "mutes": [{"rule": HOSTILE, "until": TIME}],
        **changes,
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_names_are_text(tmp_path: Path, language: str) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    with monitor_that_says(tmp_path, status()):
        page = client.get("/system", headers={"accept-language": language})
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    # In the sentence, in two troubles, twice the name of the source, and so on.
    assert page.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 14
    assert page.text.count("{{ 7 * 7 }}") == 14
    for text in ("siren 0.7", __version__, "128 MiB", "16 GiB", "50.00 %"):
        shown = text.replace(".", ",") if "%" in text and language == "de" else text
        assert shown in page.text


@pytest.mark.parametrize(
    ("is_analysed", "words"),
    [(True, "but sounds may go undetected</span>"), (False, ">not analysed</span>")],
)
def test_a_source_in_trouble_is_not_called_listening_in_red(
    tmp_path: Path, is_analysed: bool, words: str
) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    document = status()
    document["sources"][0] |= {"state": "listening", "analysed": is_analysed}
    with monitor_that_says(tmp_path, document):
        text = client.get("/system").text
    assert words in text
    assert '<span class="bad">listening</span>' not in text


def test_a_monitor_of_another_version_is_named(tmp_path: Path) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    with monitor_that_says(tmp_path, status(version="9.9.9", sources=None)):
        page = client.get("/system")
    assert page.status_code == 200
    assert "of another version" in page.text


def test_a_monitor_that_hangs_is_of_no_other_version(tmp_path: Path) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    with monitor_that_says(tmp_path, no_answer("it hangs", running=True)):
        page = client.get("/system")
    assert "it hangs" in page.text
    assert "of another version" not in page.text


def test_without_a_monitor_the_page_says_so(tmp_path: Path) -> None:
    page = WebClient(build_app(make_context(tmp_path))).get("/system/status")
    assert "The monitor is not running" in page.text


def test_a_language_is_remembered_and_the_page_stays(tmp_path: Path) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    chosen = {"language": "de", "next": "/system"}
    assert client.post("/language", data=chosen).headers["location"] == "/system"
    assert '<html lang="de">' in client.get("/system").text
    client.post("/language", data={"language": "../../etc"})
    assert '<html lang="de">' in client.get("/system").text


@pytest.mark.parametrize(
    ("password", "may"), [(PASSWORD, "look and change"), (VIEWER_PASSWORD, "nothing")]
)
def test_the_page_says_what_a_person_may(
    tmp_path: Path, password: str, may: str
) -> None:
    context = make_context(tmp_path)
    set_passwords(context)
    client = WebClient(build_app(context))
    client.log_in(password)
    page = client.get("/system").text
    assert may in page
    assert 'action="/logout"' in page


def test_the_card_of_the_model_is_read_by_another_process_until_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    with monkeypatch.context() as broken:
        broken.setattr(
            "monitor.web.child_commands.own_command", lambda *_: (["/bin/false"], {})
        )
        assert "jackhammer" not in client.get("/system/models").text
    # A module in the working folder is not run.
    (tmp_path / "typer.py").write_text("open('was-run', 'w')")
    monkeypatch.chdir(tmp_path)
    page = client.get("/system/models")
    assert "urban" in page.text
    assert "jackhammer" in page.text
    assert not (tmp_path / "was-run").exists()


def test_the_card_of_a_file_that_was_written_anew_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.safetensors"
    document = tmp_path / "card.json"
    shown = (["/bin/cat", str(document)], {})
    monkeypatch.setattr("monitor.web.child_commands.own_command", lambda *_: shown)
    config = Config(model=ModelSettings(file=str(file)))
    client = WebClient(build_app(make_context(tmp_path, config=config)))
    for onset in (0.123, 0.456):
        card = {
            "name": "own",
            "labels": ["siren"],
            "thresholds": {"siren": {"onset": onset}},
        }
        file.write_text(str(onset) * round(10 * onset))
        document.write_text(json.dumps({"card": card, "spec": {"sample_rate": 1}}))
        assert str(onset) in client.get("/system/models").text
