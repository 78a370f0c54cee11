"""The live console as a user sees it: the real command on a terminal."""

import os
import re
import select
import signal
import sys
import termios
import time
import urllib.request
from pathlib import Path

from monitor.sinks.status_client import query_status
from tests.support.terminal import Screen, TerminalProgram
from tests.support.web_site import free_port

COOKED = termios.ICANON | termios.ECHO | termios.ISIG
ENVIRONMENT = {"TERM": "xterm", "COLORTERM": "", "NO_COLOR": ""}
BREAK = """
import sys
import monitor.sinks.console.layout as layout
layout._body = None
sys.argv = ["sound-monitor", *sys.argv[1:]]
from monitor.__main__ import main
main()
"""


def monitor(
    folder: Path, *arguments: str, program: tuple[str, ...] = (), **environment: str
) -> TerminalProgram:
    command = [sys.executable, *(program or ("-m", "monitor")), "run", *arguments]
    state = {"STATE_DIRECTORY": str(folder / "state")}
    return TerminalProgram(command, {**ENVIRONMENT, **state, **environment})


def shows_strip(screen: Screen) -> bool:
    cells = sum(map(screen.text.count, "░▒▓█"))
    return cells > 10 and "listening" in screen.text


def is_given_back(program: TerminalProgram) -> bool:
    has_modes = program.modes() & COOKED == COOKED
    return has_modes and program.screen.has_cursor and not program.screen.is_alternate


def child_of(pid: int) -> int:
    """The only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_keys_sizes_and_sigterm(tmp_path: Path) -> None:
    with monitor(tmp_path, "--input", "demo:") as program:
        program.wait_until(shows_strip)
        assert program.screen.is_alternate
        assert not program.screen.has_cursor
        assert not program.modes() & termios.ECHO
        for columns, lines in ((200, 50), (50, 12), (80, 24)):
            program.resize(columns, lines)
            program.wait_until(
                lambda screen: (
                    "help" in screen.display[screen.lines - 1]
                    and "sound-monitor" in screen.display[0]
                    and screen.display[0].rstrip()[-3] == ":"
                )
            )
            assert program.screen.text.count("sound-monitor") == 1
        program.press("?")
        program.wait_for("any key closes it")
        program.press("x")
        program.wait_for("latest events")
        program.press("p")
        program.wait_for("p go on", "paused at")
        program.press("p")
        program.wait_for("p pause")
        os.kill(program.pid, signal.SIGTERM)
        assert program.wait() == 0
        assert is_given_back(program)
        assert "Stopped after" in program.screen.text
        assert "listening" not in program.screen.text


def test_a_shell_can_put_it_aside_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    environment = {**ENVIRONMENT, "PS1": "READY> "}
    environment["STATE_DIRECTORY"] = str(tmp_path / "state")
    with TerminalProgram(shell, environment) as program:
        program.wait_for("READY>")
        program.press(f"{sys.executable} -m monitor run --input demo:\n")
        program.wait_until(shows_strip)
        program.press("\x1a")  # Ctrl-Z
        program.wait_until(lambda screen: not screen.is_alternate)
        program.wait_for("Stopped", "READY>")
        assert is_given_back(program)
        program.press("echo typed $((20+3))\n")
        program.wait_for("typed 23")
        program.press("fg\n")
        program.wait_until(shows_strip)
        assert program.screen.is_alternate
        # Stopped in a way that it cannot see, twice: then in the background.
        os.kill(child_of(program.pid), signal.SIGSTOP)
        program.wait_for("Stopped", "READY>")
        program.press("fg\n")
        program.wait_until(shows_strip)
        program.press("?")
        program.wait_for("any key closes it")
        program.press("x")
        program.wait_for("latest events")
        os.kill(child_of(program.pid), signal.SIGSTOP)
        program.wait_for("Stopped", "READY>")
        program.press("bg\n")
        program.wait_until(lambda screen: not screen.is_alternate)
        program.press("echo typed $((30+4))\n")
        program.wait_for("typed 34")
        program.press("fg\n")
        program.wait_until(shows_strip)
        program.press("?")
        program.wait_for("any key closes it")
        program.press("\x03")  # Ctrl-C
        program.wait_until(lambda screen: not screen.is_alternate)
        program.press("echo code $?\n")
        program.wait_for("code 0")
        assert is_given_back(program)


def test_closing_the_window_ends_it_unless_nohup_keeps_it(tmp_path: Path) -> None:
    shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    for prefix, mode in (("", ""), ("", " &"), ("nohup ", " > /dev/null 2>&1 &")):
        folder = tmp_path / f"{prefix}{len(mode)}"
        environment = {**ENVIRONMENT, "PS1": "READY> ", "STATE_DIRECTORY": str(folder)}
        with TerminalProgram(shell, environment) as program:
            program.wait_for("READY>")
            command = f"{prefix}{sys.executable} -m monitor run --input demo:{mode}\n"
            program.press(command)
            until = time.monotonic() + 60
            paths = [folder / "status.sock"]
            while not (status := query_status(paths))["running"]:
                assert program.read(0.1)
                assert time.monotonic() < until
            monitor = os.pidfd_open(status["pid"])
            program.close_window()
            try:
                ended = select.select([monitor], [], [], 2.0 if prefix else 30.0)[0]
                assert bool(ended) != bool(prefix)
                if prefix:
                    signal.pidfd_send_signal(monitor, signal.SIGKILL)
            finally:
                os.close(monitor)


def test_a_crash_gives_the_terminal_back(tmp_path: Path) -> None:
    broken = ("-c", BREAK)
    with monitor(tmp_path, "--input", "demo:", program=broken) as program:
        assert program.wait() == 1
        assert b"\x1b[?1049h" in program.printed
        assert is_given_back(program)
        assert "TypeError: 'NoneType' object is not callable" in program.screen.text


def test_the_page_of_a_demo_that_is_over_stays_until_ctrl_c(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"web: {{listen: '127.0.0.1:{free_port()}'}}\n")
    arguments = ("--input", "demo:", "--speed", "max", "--web", "--config", str(config))
    with monitor(tmp_path, *arguments) as program:
        program.wait_for("The demo is over", "The page stays at http://127.0.0.1:")
        found = re.search(r"stays at (http://\S+) until", program.screen.text)
        assert found is not None
        with urllib.request.urlopen(f"{found[1]}/events", timeout=60) as response:
            assert "siren" in response.read().decode()
        program.press("\x03")
        assert program.wait() == 0


def test_the_demo_ends_with_what_was_detected_and_how_to_go_on(tmp_path: Path) -> None:
    with monitor(tmp_path, "--input", "demo:", "--speed", "max") as program:
        assert program.wait() == 0
        text = program.screen.text
    assert "The demo is over: 4 events detected." in text
    for words in ("0:00:05.8  siren", "car_horn", "sound-monitor run ", "--since 1h"):
        assert words in text


def test_without_colours_there_are_plain_lines(tmp_path: Path) -> None:
    arguments = ("--input", "demo:", "--speed", "max")
    with monitor(tmp_path, *arguments, NO_COLOR="1") as program:
        assert program.wait() == 0
    assert b"\x1b" not in program.printed
    assert program.printed.count(b"siren  ended after") == 1
    assert b"The demo is over: 4 events" in program.printed
