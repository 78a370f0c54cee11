"""`install-service` and `uninstall-service` on a machine where they cannot work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.runtime.service_install import program_path


@pytest.mark.parametrize("command", ["install-service", "uninstall-service"])
def test_without_rights_the_command_fails_with_one_sentence(command, capsys):
    if Path("/run/systemd/system").is_dir() and os.geteuid() == 0:
        pytest.skip("would change the services of this machine")
    if not program_path().is_file() and command == "install-service":
        pytest.skip("needs sound-monitor to be installed in this environment")
    assert run_command_line([command]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("sound-monitor: ")


def test_the_commands_import_no_torch():
    script = (
        "import sys\nfrom monitor.commands.app import run_command_line\n"
        "run_command_line(['uninstall-service', '--dry-run'])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL
    )
