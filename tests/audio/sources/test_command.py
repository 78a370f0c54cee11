"""A command's samples are read, its errors are quoted, and it leaves no process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from monitor.audio.ring import Samples
from monitor.audio.sources.child_process import ChildProcess
from monitor.audio.sources.command import Command, CommandStream
from monitor.audio.sources.pcm import PcmFormat
from monitor.errors import EndOfSourceError, SourceError, UsageError
from tests.support.source_programs import (
    DEADLINE_SECONDS,
    program,
    program_arguments,
    wait_for_end,
)
from tests.support.wav_bytes import encode, wav

RAW = PcmFormat(44_100, 1, "s16le")


@contextmanager
def running(code: str, raw: PcmFormat = RAW) -> Iterator[CommandStream]:
    with closing(Command(program(code), raw).open()) as stream:
        yield stream


def wait_for_samples(stream: CommandStream) -> Samples:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        block = stream.read(0.5)
        if block is not None:
            return block
    raise AssertionError("no samples came")


def read_to_the_end(stream: CommandStream) -> Samples:
    """All samples until the command ends well."""
    blocks = []
    try:
        while True:
            blocks.append(wait_for_samples(stream))
    except EndOfSourceError:
        return np.concatenate(blocks, axis=1)


def test_raw_samples_come_as_they_were_written() -> None:
    with running("numbers(-1000, 2000)") as stream:
        samples = read_to_the_end(stream)
        assert (stream.sample_rate, stream.channels) == (44_100, 1)
    np.testing.assert_array_equal(samples[0] * 2**15, np.arange(-1000, 1000))


def test_a_wav_header_outweighs_the_settings() -> None:
    data = wav(
        encode([0.5, -0.5] * 3, "s24le"), rate=8_000, channels=2, encoding="s24le"
    )
    with running(f"put({data!r})") as stream:
        samples = read_to_the_end(stream)
        assert (stream.sample_rate, stream.channels) == (8_000, 2)
    assert samples.tolist() == [[0.5] * 3, [-0.5] * 3]


def test_writes_of_single_bytes_are_put_together() -> None:
    with running("for byte in bytes(range(100)): put(bytes([byte]))") as stream:
        samples = read_to_the_end(stream)
    expected = np.frombuffer(bytes(range(100)), "<i2")
    np.testing.assert_array_equal(samples[0] * 2**15, expected)


def test_a_script_is_all_of_standard_input_and_has_an_end() -> None:
    code = "put(sys.stdin.buffer.read()); put(b'. ')"
    with closing(ChildProcess(program_arguments(code), script=b"ffconcat")) as child:
        assert child.read(DEADLINE_SECONDS, 10) == b"ffconcat. "


def test_a_script_that_no_pipe_can_hold_is_an_error() -> None:
    with pytest.raises(SourceError, match="longer than"):
        ChildProcess(program_arguments("pass"), script=bytes(2**20))


def test_half_a_sample_at_the_end_is_left_out() -> None:
    with running("put(b'abcde')", PcmFormat(44_100, 1, "s16le")) as stream:
        assert read_to_the_end(stream).shape == (1, 2)


def test_nothing_in_time_is_none_and_not_the_end() -> None:
    with running("numbers(0, 4410); sleep_for_ever()") as stream:
        wait_for_samples(stream)
        assert stream.read(0.01) is None


def test_a_trickle_is_read_no_longer_than_the_timeout() -> None:
    """A block of 882 samples would take the better part of a minute."""
    with running("while True: numbers(0, 1); time.sleep(0.05)") as stream:
        wait_for_samples(stream)
        block = stream.read(0.2)
        assert block is None or block.shape[1] < 882


def test_the_error_of_a_failing_command_quotes_its_last_lines() -> None:
    code = (
        "sys.stderr.write('_1_\\ntwo\\nthree\\n\\naudio open error: No such file\\n');"
        "sys.exit(3)"
    )
    with (
        running(code) as stream,
        pytest.raises(SourceError) as caught,
    ):
        wait_for_samples(stream)
    sentence = str(caught.value)
    assert "ended with exit code 3: two; three; audio open error: No such" in sentence
    assert "_1_" not in sentence


def test_the_error_of_a_failing_command_cannot_move_the_cursor() -> None:
    code = "os.write(2, b'\\x1b[2Jred \\x07\\xff\\n'); sys.exit(1)"
    with running(code) as stream, pytest.raises(SourceError) as caught:
        wait_for_samples(stream)
    assert str(caught.value).endswith("code 1: ?[2Jred ?\ufffd")


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 3, "signal 37")],
)
def test_a_command_that_was_killed_names_the_signal(number: int, name: str) -> None:
    with (
        running(f"os.kill(os.getpid(), {int(number)})") as stream,
        pytest.raises(SourceError, match=f"was killed by {name}"),
    ):
        wait_for_samples(stream)


def test_a_command_that_closes_its_output_and_stays_is_an_error() -> None:
    with (
        running("os.close(1); sleep_for_ever()") as stream,
        pytest.raises(SourceError, match="closed its output"),
    ):
        wait_for_samples(stream)


def test_a_flood_on_standard_error_does_not_block_the_command() -> None:
    code = "sys.stderr.write('x' * 10**6); sys.stderr.flush(); numbers(0, 2000)"
    with running(code) as stream:
        assert read_to_the_end(stream).shape == (1, 2000)


def test_a_flood_on_standard_error_takes_little_cpu_time() -> None:
    code = "put(bytes(2)); sys.stdout.flush(); error = b'x' * 2**16\n"
    code += "while True: os.write(2, error)"
    with running(code) as stream:
        wait_for_samples(stream)
        began, worked = time.monotonic(), time.thread_time()
        for _ in range(5):
            assert stream.read(0.2) is None
        assert time.thread_time() - worked < 0.4 * (time.monotonic() - began)


def test_an_invalid_wav_header_is_an_error_that_names_the_command() -> None:
    with (
        running("put(b'RIFF....WAVEdata....')") as stream,
        pytest.raises(SourceError, match=r"command '.*python.*': its WAV header"),
    ):
        wait_for_samples(stream)


@pytest.mark.parametrize(
    "refusal",
    [
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_close_ends_a_command_that_ignores_the_signal(refusal: str) -> None:
    stream = Command(program(f"numbers(0, 2000); {refusal}; sleep_for_ever()"), RAW)
    opened = stream.open()
    wait_for_samples(opened)
    opened.close()
    wait_for_end(opened.pid)


def test_close_ends_the_children_of_the_command_too() -> None:
    code = (
        "child = os.fork()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if child: put(struct.pack('<1000f', *[child] * 1000))\n"
        "sleep_for_ever()"
    )
    with running(code, PcmFormat(44_100, 1, "f32le")) as stream:
        grandchild = int(wait_for_samples(stream)[0, 0])
        os.kill(grandchild, 0)  # it exists
    wait_for_end(grandchild)


@pytest.mark.parametrize("left", ["sys.exit(0)", "sleep_for_ever()"])
def test_close_ends_what_left_the_group_of_the_command(left: str) -> None:
    code = (
        "if not os.fork():\n"
        " os.setsid()\n"
        " if os.fork(): sys.exit(0)\n"
        " signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        " put(struct.pack('<1000f', *[os.getpid()] * 1000))\n"
        " sleep_for_ever()\n" + left
    )
    with running(code, PcmFormat(44_100, 1, "f32le")) as stream:
        daemon = int(wait_for_samples(stream)[0, 0])
        os.kill(daemon, 0)  # it exists
        if left == "sys.exit(0)":
            assert stream.read(0.3) is None  # it may go on delivering
    wait_for_end(daemon)


def test_the_exit_code_of_a_command_that_leaves_a_daemon_is_known() -> None:
    code = (
        "if not os.fork(): os.setsid(); os.close(1); sleep_for_ever()\n"
        "numbers(0, 2000); sys.exit('no such card')"
    )
    with running(code) as stream:
        wait_for_samples(stream)
        with pytest.raises(SourceError, match="exit code 1: no such card"):
            wait_for_samples(stream)


def test_ctrl_c_does_not_reach_the_command() -> None:
    """The command is not in the group that a terminal sends SIGINT to."""
    code = "put(struct.pack('<1000h', *[os.getpgrp() != "
    code += f"{os.getpgrp()}] * 1000))"
    with running(code) as stream:
        assert wait_for_samples(stream)[0, 0] * 2**15 == 1


def test_no_shell_is_involved(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    command = f"{program('put(sys.argv[1].encode() * 2)')} '; touch {trap}'"
    with closing(Command(command, RAW).open()) as stream:
        samples = read_to_the_end(stream)
    assert samples.shape[1] == len(f"; touch {trap}")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "names no program"),
        ("   ", "names no program"),
        ("no-such-program-at-all -x", "there is no program 'no-such-program-at-all'"),
        ("/etc/passwd", "there is no program '/etc/passwd' that may be run"),
        ("arecord 'street", "no closing quotation"),
    ],
)
def test_an_impossible_command_is_rejected_at_once(command: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Command(command, RAW)


def test_a_program_that_vanished_is_waited_for(tmp_path: Path) -> None:
    executable = tmp_path / "recorder"
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    command = Command(str(executable), RAW)
    executable.unlink()
    with pytest.raises(SourceError, match="cannot be started"):
        command.open()


def test_a_command_ends_when_the_monitor_was_killed() -> None:
    """Its next write fails, because the reading end of its pipe is closed."""
    command = program("while True: numbers(0, 100)")
    code = (
        "import time\n"
        "from monitor.audio.sources.command import Command\n"
        "from monitor.audio.sources.pcm import PcmFormat\n"
        f"stream = Command({command!r}, PcmFormat(44_100, 1, 's16le')).open()\n"
        "print(stream.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE
    ) as monitor:
        assert monitor.stdout is not None
        pid = int(monitor.stdout.readline())
        os.kill(pid, 0)  # it exists
        monitor.kill()
    wait_for_end(pid)


def test_without_subreapers_the_group_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("monitor.subreaper.IS_POSSIBLE", False)
    code = (
        "child = os.fork()\n"
        "if not child: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if child: put(struct.pack('<1000f', *[child] * 1000))\n"
        "sleep_for_ever()"
    )
    with running(code, PcmFormat(44_100, 1, "f32le")) as stream:
        grandchild = int(wait_for_samples(stream)[0, 0])
    wait_for_end(grandchild)
