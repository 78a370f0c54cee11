"""The command that installs an extra fits the environment of the program."""

import shlex
import sys

import pytest

from monitor.errors import ConfigError
from monitor.extras import install_command, require_extra
from tests.support import ROOT


def test_an_extra_that_is_there_is_no_trouble() -> None:
    require_extra("mqtt", "json", "mqtt")


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(ConfigError) as caught:
        require_extra("mqtt", "no_such_module", "alerts.0.mqtt")
    sentence, _, command = str(caught.value).rstrip("`").partition("`")
    assert sentence.startswith("alerts.0.mqtt: needs the extra mqtt")
    assert command == install_command("mqtt")


@pytest.mark.parametrize("extra", ["mqtt", "notify", "metrics", "plot"])
def test_the_command_installs_what_the_extra_brings(extra: str) -> None:
    words = shlex.split(install_command(extra).removeprefix("sudo "))
    assert any(sys.executable in word for word in words)
    assert "install" in words
    names = words[words.index("install") + 1 :]
    assert names
    assert not any("sound-monitor" in name for name in names)
    project = (ROOT / "pyproject.toml").read_text()
    line = next(it for it in project.splitlines() if it.startswith(f"{extra} = ["))
    for name in names:
        assert name.partition(">")[0].partition("<")[0] in line


def test_without_an_installed_program_it_is_the_checkout() -> None:
    words = shlex.split(install_command("mqtt", distribution="no-such-program"))
    assert words[-1] == f"{ROOT}[mqtt]"
