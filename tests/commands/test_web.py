"""`web` refuses what is unsafe in one sentence, sets passwords, and ends cleanly."""

import contextlib
import io
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.runtime.page_process import PageProcess, web_page
from monitor.web.passwords import PasswordFiles

SECONDS = 30.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = "{}:{}".format(*free.getsockname())
    path.write_text(f"state_dir: {tmp_path}/state\nweb: {{listen: '{listen}'}}\n")
    (tmp_path / "state").mkdir()
    return path


def run(*arguments: str) -> int:
    return run_command_line(["web", *arguments])


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.parametrize("listen", ["0.0.0.0:8480", "[::]:8480", "192.0.2.1:80"])
def test_without_a_password_others_cannot_reach_it(
    config: Path, listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", str(config), "--listen", listen) == 2
    assert "there is no password" in capsys.readouterr().err


def test_a_proxy_needs_a_password_too(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config.read_text().replace("}", ", trusted_proxy: 127.0.0.1}")
    config.write_text(text)
    assert run("--config", str(config)) == 2
    assert "web.trusted_proxy: 127.0.0.1: other machines" in capsys.readouterr().err
    assert run_command_line(["check", "--config", str(config)]) == 0
    assert "there is no password" in capsys.readouterr().out


def test_check_says_why_it_would_not_start(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "--config", str(config)]) == 0
    assert "password" not in capsys.readouterr().out
    config.write_text(config.read_text().replace("127.0.0.1:", "0.0.0.0:"))
    assert run_command_line(["check", "--config", str(config)]) == 0
    assert "there is no password" in capsys.readouterr().out


@pytest.mark.parametrize("viewer", [False, True])
def test_a_password_is_set_from_stdin(
    config: Path, viewer: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    say(monkeypatch, "correct horse\nignored\n")
    chosen = ["--viewer"] if viewer else []
    assert run("--config", str(config), "--set-password", *chosen) == 0
    name = "web.viewer-password" if viewer else "web.password"
    passwords = PasswordFiles({"owner": tmp_path / "state" / name}).read()
    assert passwords is not None
    assert passwords.role_of("correct horse") == "owner"


@pytest.mark.parametrize(
    ("arguments", "stdin", "sentence"),
    [
        (("--set-password",), "short\n", "the password has 5 characters"),
        (("--set-password",), "", "the password has 0 characters"),
        (("--viewer",), "", "--viewer needs --set-password"),
        (("--listen", "nowhere"), "", "--listen"),
        (("--listen", "127.0.0.1:99999"), "", "--listen"),
    ],
)
def test_wrong_usage_is_one_sentence(
    config: Path,
    arguments: tuple[str, ...],
    stdin: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(monkeypatch, stdin)
    assert run("--config", str(config), *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_a_damaged_password_file_does_not_open_the_page(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state" / "web.password").write_text("plain text")
    assert run("--config", str(config)) == 2
    assert "is not the hash of a password" in capsys.readouterr().err


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a command; yield it and the address that it logs."""
    command = [sys.executable, "-m", "monitor", *arguments]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process, address(process)
        finally:
            process.kill()


def address(process: subprocess.Popen[bytes]) -> str:
    """Read the log until it has the address of the page."""
    assert process.stderr is not None
    text, until = b"", time.monotonic() + SECONDS
    while time.monotonic() < until:
        if select.select([process.stderr], [], [], 0.1)[0]:
            text += (more := os.read(process.stderr.fileno(), 10_000))
            if not more:
                break
            if found := re.search(rb"the page is at (http://\S+)\n", text):
                return found[1].decode()
    raise AssertionError(text)


def fetch(url: str, path: str = "/system") -> str:
    with urllib.request.urlopen(f"{url}{path}", timeout=SECONDS) as response:
        return str(response.read().decode())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)]
)
def test_a_signal_ends_it_although_somebody_looks(
    config: Path, number: signal.Signals, code: int
) -> None:
    with running("web", "--config", str(config)) as (process, url):
        assert "The monitor is not running" in fetch(url)
        with urllib.request.urlopen(f"{url}/live", timeout=SECONDS) as stream:
            stream.readline()
            process.send_signal(number)
            assert process.wait(SECONDS) == code
            stream.read()


def test_its_memory_is_small(config: Path) -> None:
    with running("web", "--config", str(config)) as (process, url):
        fetch(url)
        text = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        assert int(found[1]) / 1024 < 60


def test_the_page_beside_the_monitor_is_started_again_and_ends_with_it(
    config: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.runtime.page_process.FIRST_PAUSE_SECONDS", 0.01)
    caplog.set_level("INFO", logger="monitor")

    def addresses() -> list[str]:
        return re.findall(r"the page is at (http://\S+)", caplog.text)

    def wait_for(count: int) -> None:
        until = time.monotonic() + SECONDS
        while len(addresses()) < count:
            assert time.monotonic() < until, caplog.text
            time.sleep(0.05)

    with web_page(["web", "--config", str(config)], {}) as child:
        wait_for(1)
        fetch(addresses()[0])
        kill_page(child)
        wait_for(2)
        fetch(addresses()[1])
    assert child.starts == 2
    with pytest.raises(OSError, match="refused"):
        fetch(addresses()[1])


def test_the_reason_why_there_is_no_page_is_passed_on(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = config.read_text().rpartition("'")[0].rpartition("'")[2].split(":")
    found: list[tuple[str, str]] = []
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with web_page(
            ["web", "--config", str(config)], {}, lambda *it: found.append(it)
        ):
            until = time.monotonic() + SECONDS
            while not found and time.monotonic() < until:
                time.sleep(0.05)
            while "starts again" not in caplog.text and time.monotonic() < until:
                time.sleep(0.05)
    reason = f"{host}:{port} cannot be listened at: Address already in use"
    assert found[0] == ("", reason)
    assert f"no web page: {reason}; it starts again in 1 s" in caplog.messages


def test_the_page_has_the_sources_that_the_monitor_was_given(config: Path) -> None:
    arguments = ("--web", "--config", str(config), "--input", "demo:")
    with running("run", *arguments) as (process, url):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(OSError):  # there is no database yet
                text = fetch(url, "/diary")
                break
        process.terminate()
        process.wait(SECONDS)
    sources = text.partition('name="source"')[2].partition("</select>")[0]
    assert re.findall("<option[^>]*>(.*?)</option>", sources)[1:] == ["demo"]


def kill_page(child: PageProcess) -> None:
    """Kill the page itself, below its subreaper."""
    assert child._process is not None
    path = Path(f"/proc/{child._process.pid}/task/{child._process.pid}/children")
    (page,) = path.read_text().split()
    os.kill(int(page), signal.SIGKILL)
