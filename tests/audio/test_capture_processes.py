"""The capture survives programs that stall, crash, stop midway or write garbage."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from monitor.audio.timeline import Block
from monitor.config.audio import SampleFormat, SourceSettings
from tests.support.capture_reader import CaptureReader, running_capture
from tests.support.source_programs import program
from tests.support.wav_bytes import chunk, encode, wav

RATE = 8_000
LIVE = "while True: numbers(0, 800); time.sleep(0.1)"


def capturing(
    code: str, sample_format: SampleFormat = "s16le"
) -> AbstractContextManager[CaptureReader]:
    settings = SourceSettings(
        name="street",
        input=f"command:{program(code)}",
        sample_rate=RATE,
        sample_format=sample_format,
        stall_seconds=0.5,
    )
    return running_capture(settings, RATE)


def once(path: Path, code: str) -> str:
    """Return a program that runs `code` when it is started for the first time."""
    return f"if not os.path.exists({str(path)!r}):\n open({str(path)!r}, 'w'); {code}\n"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("numbers(0, 800); sleep_for_ever()", "stalled"),
        ("numbers(0, 800); os.kill(os.getpid(), signal.SIGSTOP)", "stalled"),
        ("numbers(0, 800); os.kill(os.getpid(), signal.SIGKILL)", "ended"),
        ("numbers(0, 800); sys.exit('no such card')", "ended"),
        ("numbers(0, 800); put(b'x'); sys.exit(0)", "ended"),
    ],
)
def test_a_faulty_program_is_started_again(
    tmp_path: Path, fault: str, reason: str
) -> None:
    with capturing(once(tmp_path / "started", fault) + LIVE) as reader:
        reader.wait_for_reopenings(1)
        assert {gap.reason for gap in reader.gaps} == {reason}
        assert sum(gap.stop - gap.start for gap in reader.gaps) > 0
        np.testing.assert_array_equal(
            reader.blocks[0].samples[0] * 2**15, np.arange(800)
        )


def test_the_last_error_of_a_program_is_its_detail() -> None:
    with capturing("sys.exit('audio open error: no such card')") as reader:
        reader.wait_until(lambda: len(reader.sentences) > 1)
        assert "exit code 1: audio open error: no such card" in reader.sentences[1]


def test_invalid_floats_never_reach_the_timeline() -> None:
    values = "0.5, float('nan'), float('inf'), -1e30"
    code = (
        "def floats(*values): put(struct.pack(f'<{len(values)}f', *values))\n"
        "floats(*[0.25] * 4000)\n"
        f"for _ in range(2000): floats({values})\n"
        "while True: floats(*[0.125] * 800); time.sleep(0.1)"
    )
    with capturing(code, "f32le") as reader:
        reader.wait_until(lambda: len(reader.gaps) > 0)
        reader.wait_until(lambda: isinstance(reader.items[-1], Block))
        samples = np.concatenate([block.samples for block in reader.blocks], axis=1)
        assert set(samples.ravel()) <= {0.25, 0.5, 0.125}
        assert {gap.reason for gap in reader.gaps} == {"invalid"}
        assert reader.gaps[0].start == 4001


def test_random_bytes_are_invalid_samples() -> None:
    """Random bytes read as floats: mostly absurd, some not numbers."""
    code = "while True: put(os.urandom(3201)); time.sleep(0.1)"
    with capturing(code, "f32le") as reader:
        reader.wait_until(lambda: len(reader.gaps) > 0)
        assert {gap.reason for gap in reader.gaps} == {"invalid"}


def test_short_reads_of_odd_sizes_leave_no_gap() -> None:
    code = (
        "data = struct.pack('<4000h', *range(4000))\n"
        "for start in range(0, 8000, 7): put(data[start:start + 7])\n"
        "sleep_for_ever()"
    )
    with capturing(code) as reader:
        reader.wait_until(
            lambda: sum(block.samples.shape[1] for block in reader.blocks) == 4000
        )
        samples = np.concatenate([block.samples for block in reader.blocks], axis=1)
        np.testing.assert_array_equal(samples[0] * 2**15, np.arange(4000))
        assert not reader.gaps


def test_recordings_one_after_the_other_are_all_heard(tmp_path: Path) -> None:
    """In other formats too, with notes behind the samples."""
    files = [
        wav(encode([0.25] * 800, "s16le"), rate=RATE, after=chunk(b"LIST", b"odd")),
        wav(encode([0.5] * 3200, "s16le"), rate=2 * RATE, channels=2),
        wav(encode([0.75] * 800, "f32le"), rate=RATE, encoding="f32le"),
    ]
    path = tmp_path / "all.wav"
    path.write_bytes(b"".join(files))
    code = f"put(open({str(path)!r}, 'rb').read()); sleep_for_ever()"
    with capturing(code) as reader:
        reader.wait_until(lambda: sum(b.samples.shape[1] for b in reader.blocks) > 2300)
        heard = [(b.samples.shape[0], float(b.samples[0, -400])) for b in reader.blocks]
        assert heard == [(1, 0.25), (2, pytest.approx(0.5, abs=0.01)), (1, 0.75)]
        assert not reader.gaps


def test_a_source_can_be_stopped_in_every_state() -> None:
    """`running_capture` waits for the end of the capture thread."""
    for code in ("sleep_for_ever()", LIVE, "sys.exit(1)"):
        with capturing(code) as reader:
            reader.wait_until(lambda: len(reader.items) > 0)
