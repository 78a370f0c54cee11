"""An hour in the memory of a small device; and with too little, one sentence."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import pytest
import soundfile

from monitor.audio.sources.demo import SCENE, render_scene
from tests.support.endpoint import running_endpoint
from tests.support.fault_monitor import Figure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RATE = 44_100
MINUTES = 60
SMALL_MIB = 256

PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True)
class Ended:
    """A monitor that has ended."""

    code: int
    logged: str
    peak_mib: float
    """The most memory that it had at once, with the pages of its libraries."""

    @property
    def complaints(self) -> list[str]:
        return [line for line in self.logged.splitlines() if " INFO " not in line]


def run(folder: Path, mib: int, arguments: Sequence[str]) -> Ended:
    """Run the daemon with so much memory of its own.

    It is limited by RLIMIT_DATA, for which no rights are needed.  Unlike a cgroup it
    counts what is reserved without being used, as 8 MiB for the stack of each thread.
    """
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *("prlimit", f"--data={mib * 2**20}", sys.executable, "-m", "monitor"),
                *("run", *arguments, "--speed", "max"),
            ],
            env={**os.environ, "STATE_DIRECTORY": str(folder / "state")},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        # Not ru_maxrss, which has the memory of this process from before the start.
        peak_kib = 0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak_kib = int((PEAK.findall(status) or [peak_kib])[0])
            sleep(0.05)
    return Ended(process.returncode, log.read_text(), peak_kib / 2**10)


def test_an_hour_of_sound_takes_a_small_devices_memory(
    tmp_path: Path, figures: list[Figure]
) -> None:
    sound = tmp_path / "hour.wav"
    scene = render_scene(RATE)[0]
    with soundfile.SoundFile(sound, "w", RATE, 1, "PCM_16") as file:
        for _ in range(MINUTES):
            file.write(scene)
    config = tmp_path / "config.yaml"
    with running_endpoint() as endpoint:
        rule = {"name": "all", "on": ["onset", "end"], "cooldown_seconds": 0}
        rule |= {"max_per_hour": None, "webhook": {"url": endpoint.url}}
        source = {"name": "street", "input": f"file:{sound}"}
        config.write_text(json.dumps({"sources": [source], "alerts": [rule]}))
        ended = run(tmp_path, SMALL_MIB, ["--config", str(config)])
    sound.unlink()
    assert ended.code == 0, ended.logged
    assert not ended.complaints
    log = (tmp_path / "state" / "events.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in log]
    events = [each for each in records if each["type"] == "event"]
    expected = dict.fromkeys((each.label for each in SCENE), MINUTES)
    assert Counter(each["label"] for each in events) == expected
    assert not [each for each in records if each["type"] == "gap"]
    sent = [json.loads(request.body) for request in endpoint.requests]
    delivered = {(each["event_id"], each["kind"]) for each in sent}
    assert delivered == {(each["id"], k) for each in events for k in ("onset", "end")}
    assert ended.peak_mib < SMALL_MIB
    peak = f"peak {ended.peak_mib:.0f} MiB"
    figures.append(Figure(f"an hour at full speed in {SMALL_MIB} MiB: {peak}"))


# It runs out elsewhere each time: threads, libraries, the model, the ring, the network.
# Not from 70 to 95 MiB, where libraries that are being loaded print lines of their own.
# Nor below 40: Python may wait there for ever for a thread that could not begin.
@pytest.mark.parametrize("mib", [40, 60, 100, 110, 120, 130, 140])
def test_too_little_memory_is_reported_in_one_sentence(
    tmp_path: Path, figures: list[Figure], mib: int
) -> None:
    ended = run(tmp_path, mib, ["--input", "demo:"])
    assert ended.code == 1 or (mib > 100 and ended.code == 0), ended.logged
    assert len(ended.complaints) == ended.code, ended.logged
    assert all("emory" in each for each in ended.complaints)
    how = "reported in one sentence" if ended.code else "enough"
    figures.append(Figure(f"{mib} MiB of memory: {how}"))
