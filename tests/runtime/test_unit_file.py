"""The unit is what systemd needs, for any environment of the program."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monitor.errors import UsageError
from monitor.output import END_SECONDS
from monitor.runtime.alerting import STOP_SECONDS as ALERTING_STOP_SECONDS
from monitor.runtime.daemon import ENDED_EVENTS_SECONDS, STOP_SECONDS
from monitor.runtime.service_install import examples, render_unit, shipped

PROGRAM = Path("/opt/sound-monitor/bin/sound-monitor")
MOST_EXPOSURE = 2.0
UNITS = ("sound-monitor.service", "sound-monitor-web.service")


def directives(unit: str) -> list[str]:
    return [line for line in unit.splitlines() if "=" in line and line[0] != "#"]


def test_the_unit_runs_the_program_of_this_environment():
    unit = render_unit(Path("/srv/env/bin/sound-monitor"), [Path("/srv/env")])
    assert "ExecStart=/srv/env/bin/sound-monitor run" in directives(unit)
    assert "ProtectHome=yes" in directives(unit)


def test_in_opt_it_is_the_unit_that_is_shipped():
    folders = [Path("/opt/sound-monitor"), Path("/usr"), Path("/usr/lib/python3.11")]
    for name in UNITS:
        assert render_unit(PROGRAM, folders, name) == shipped(name)


def test_an_environment_that_the_sandbox_hides_is_let_in_and_nothing_beside_it():
    folders = map(Path, ["/home/pi/env", "/home/pi/env/lib", "/usr", "/root/.pyenv/3"])
    unit = directives(render_unit(PROGRAM, folders))
    assert "ProtectHome=tmpfs" in unit
    assert "ProtectHome=yes" not in unit
    assert [line for line in unit if line.startswith("Bind")] == [
        "BindReadOnlyPaths=/home/pi/env",
        "BindReadOnlyPaths=/root/.pyenv/3",
    ]


@pytest.mark.parametrize(
    "path", ["/opt/my env/bin/sound-monitor", "/opt/%i/bin/sound-monitor", "/opt/$x/s"]
)
def test_a_path_that_a_unit_would_misread_is_refused(path):
    with pytest.raises(UsageError, match="contains spaces or special"):
        render_unit(Path(path), [])


@pytest.mark.parametrize(
    ("name", "drop_in"),
    [
        (UNITS[0], None),
        (UNITS[0], "gpu.conf"),
        (UNITS[0], "pulseaudio.conf"),
        (UNITS[1], None),
    ],
)
def test_the_sandbox_is_tight_and_its_lines_are_understood(tmp_path, name, drop_in):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt install systemd")
    unit = tmp_path / name
    program = Path(shutil.which("true") or "/bin/true")
    unit.write_text(render_unit(program, [], name))
    if drop_in is not None:
        folder = tmp_path / "sound-monitor.service.d"
        folder.mkdir()
        (folder / drop_in).write_text(shipped(drop_in))
    verified = analyze("verify", str(unit))
    assert verified.returncode == 0, verified.stderr
    assert verified.stderr == ""
    table = analyze("security", "--offline=true", "--no-pager", str(unit)).stdout
    found = re.search(r"exposure level for .*: ([\d.]+)", table)
    assert found is not None, table
    assert float(found[1]) <= MOST_EXPOSURE


def test_a_replay_of_the_page_may_give_way():
    """The lists of system calls add and take away in their order."""
    prefix = "SystemCallFilter="
    lines = [it for it in directives(shipped(UNITS[1])) if it.startswith(prefix)]
    deny = next(number for number, it in enumerate(lines) if "@resources" in it)
    assert f"{prefix}setpriority" in lines[deny + 1 :]


def test_the_limit_of_memory_fits_a_machine_of_any_size():
    unit = shipped("sound-monitor.service")
    (limit,) = re.findall(r"^MemoryMax=(\d+)%$", unit, re.MULTILINE)
    assert 256 / 512 <= int(limit) / 100 <= 0.6


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def test_a_late_stop_ends_before_systemd_kills():
    (line,) = re.findall("TimeoutStopSec=([0-9]+)", shipped("sound-monitor.service"))
    longest = STOP_SECONDS + ENDED_EVENTS_SECONDS + ALERTING_STOP_SECONDS
    assert longest + 2 * END_SECONDS < int(line)


def test_examples_are_found_beside_the_unit():
    assert {"gpu.conf", "pulseaudio.conf"} <= {
        path.name for path in examples().iterdir()
    }


@pytest.mark.parametrize("name", ["sound-monitor.service", "gpu.conf"])
def test_what_would_break_torch_or_hide_the_sound_card_is_not_set(name):
    keys = {line.split("=")[0] for line in directives(shipped(name))}
    assert not keys & {"MemoryDenyWriteExecute", "PrivateDevices", "ProcSubset"}
