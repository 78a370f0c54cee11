"""Drills of the capture: `unplug` a source, `overrun` the ring buffer."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median

from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.monitor_process import (
    DrillError,
    DrillResult,
    MonitorProcess,
    Say,
    descendants,
)
from monitor.runtime.drills.noise_bursts import BURST_DBFS, PERIOD_SECONDS
from monitor.runtime.drills.plan import (
    DETECT_SECONDS,
    DrillPlan,
    noise_monitor,
    write_source_config,
)

LISTEN_SECONDS = 25.0
RECOVER_SECONDS = 20.0
UNDISTURBED_SECONDS = 6.0
"""A source that was captured for this long is reopened without delay, and has been
analysed: two outages without a window between them would be one gap."""

TOLERANCE_SECONDS = 1.0
"""Largest difference between a gap and the time without capture."""

STOPPED_SECONDS = 24.0
"""The pipe holds 12 s of the noise, the ring 5 s."""

LEAST_LOST_SECONDS = 8.0
TRUE_SECONDS = 0.75
"""Largest error of event times, compared with those before."""

BURSTS = 3
LOUD_DBFS = BURST_DBFS - 15.0
"""A louder event contains a good part of a burst."""

SETTLE_SECONDS = 12.0
"""Silent losses are detected by the clock, within five seconds and more."""

_LISTENING = "  listening"


def unplug(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Kill, then freeze the capturing process, and measure the time to recover.

    Raises:
        DrillError: The source delivers nothing, or does not recover.
    """
    assert plan.source is not None, "plan_drills has found one"
    source = plan.source.input
    config = write_source_config(plan, folder)
    with MonitorProcess(folder, ["--config", config]) as monitor:
        monitor.wait_until_ready()
        with _hint_at_busy_device(source):
            monitor.wait_for_line(_LISTENING, LISTEN_SECONDS, "capture the source")
        say(f"{source} is captured; its process is killed")
        killed = _interrupt_capture(monitor, signal.SIGKILL)
        say(f"captured again after {killed:.1f} s; its process is frozen")
        frozen = _interrupt_capture(monitor, signal.SIGSTOP)
        monitor.stop()
        gaps = [_duration(gap) for gap in monitor.records("gap")]
    lost, interrupted = sum(gaps), killed + frozen
    return DrillResult(
        "unplug",
        len(gaps) >= 2 and abs(lost - interrupted) <= 2 * TOLERANCE_SECONDS,
        f"captured again after {killed:.1f} s (killed) and {frozen:.1f} s (frozen), "
        f"{len(gaps)} gaps of {lost:.1f} s in total recorded",
        max(killed, frozen),
        {
            "input": source,
            "killed_seconds": round(killed, 3),
            "frozen_seconds": round(frozen, 3),
            "gap_seconds": gaps,
        },
    )


def _interrupt_capture(monitor: MonitorProcess, number: signal.Signals) -> float:
    """Send a signal to the capturing process; return the seconds until recovery."""
    time.sleep(UNDISTURBED_SECONDS)
    found = descendants(monitor.process.pid)
    if not found:
        raise DrillError("no process captures the source, so none can be killed")
    began = time.monotonic()
    for pid in found:
        os.kill(pid, number)
    what = "capture the source again"
    return monitor.wait_for_line(_LISTENING, RECOVER_SECONDS, what, began) - began


def _duration(gap: dict[str, str]) -> float:
    start, end = (datetime.fromisoformat(gap[key]) for key in ("start", "end"))
    return round((end - start).total_seconds(), 3)


@contextlib.contextmanager
def _hint_at_busy_device(source: str) -> Iterator[None]:
    try:
        yield
    except DrillError as error:
        if not source.startswith("mic:"):
            raise
        raise DrillError(
            f"{error}; the running monitor may hold the sound card: stop it for the "
            "drill, or use --input demo:"
        ) from None


def overrun(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Stop the monitor by a signal, continue it, and check gaps and event times.

    Raises:
        DrillError: It does not go on.
    """
    with running_endpoint() as endpoint:
        endpoint.open()
        with noise_monitor(plan, folder, endpoint) as monitor:
            _wait_for_bursts(monitor, time.time())
            before = _delay(_burst_starts(monitor))
            say(f"the monitor is stopped for {STOPPED_SECONDS:.0f} s")
            began = time.time()
            os.kill(monitor.process.pid, signal.SIGSTOP)
            time.sleep(STOPPED_SECONDS)
            os.kill(monitor.process.pid, signal.SIGCONT)
            continued, at = time.time(), time.monotonic()
            again = monitor.wait_for_line("", DETECT_SECONDS, "go on", at) - at
            say(f"it went on after {again:.1f} s; its event times are checked")
            _wait_for_bursts(monitor, continued + SETTLE_SECONDS)
            after = _delay(_burst_starts(monitor, continued + SETTLE_SECONDS))
            monitor.stop()
            gaps = monitor.records("gap")
    stopped, error = continued - began, _nearest_to_zero(after - before)
    lost = sum(
        gap.get("left_out_seconds", gap["end_seconds"] - gap["start_seconds"])
        for gap in gaps
    )
    return DrillResult(
        "overrun",
        LEAST_LOST_SECONDS <= lost <= stopped + 1 and abs(error) <= TRUE_SECONDS,
        f"went on after {again:.1f} s, {lost:.1f} of {stopped:.1f} s lost in "
        f"{len(gaps)} gap{'s' * (len(gaps) != 1)}, times off by {abs(error):.2f} s "
        "afterwards",
        again,
        {
            "stopped_seconds": round(stopped, 3),
            "lost_seconds": round(lost, 3),
            "gaps": len(gaps),
            "time_error_seconds": round(error, 3),
        },
    )


def _wait_for_bursts(monitor: MonitorProcess, after: float) -> None:
    """Wait for the events of `BURSTS` bursts later than a time of day."""
    monitor.wait(
        # Some events of the newest burst may still be open.
        lambda: len(_burst_starts(monitor, after)) > BURSTS,
        DETECT_SECONDS,
        "detect the bursts of noise",
    )


def _burst_starts(monitor: MonitorProcess, after: float = 0.0) -> list[float]:
    """Start of the highest-scoring event of each burst, seconds since 1970."""
    best: dict[int, tuple[float, float]] = {}
    for event in monitor.records("event"):
        start = datetime.fromisoformat(event["start"]).timestamp()
        # The network also detects something in the quiet between the bursts.
        if start > after and event["level_dbfs"] > LOUD_DBFS:
            burst = round(start / PERIOD_SECONDS)
            score = event["peak_score"]
            best[burst] = max(best.get(burst, (0.0, start)), (score, start))
    return [start for _, start in best.values()]


def _delay(starts: list[float]) -> float:
    """Median delay of events after their bursts; a network's delay is constant."""
    return median(_nearest_to_zero(start) for start in starts)


def _nearest_to_zero(seconds: float) -> float:
    """The same phase of the period, nearest to zero."""
    half = PERIOD_SECONDS / 2
    return (seconds + half) % PERIOD_SECONDS - half
