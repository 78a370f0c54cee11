"""The base install fits a Raspberry Pi: every dependency has a wheel for it."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

MOST_MB = 300
# Debian 12 has glibc 2.36.
PLATFORMS = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 37)]
PLATFORMS.append("--platform=manylinux2014_aarch64")


def pip(*arguments: str, version: str) -> None:
    """Run pip for another processor; it fails where there is no wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", *arguments, "-q"),
            *("--only-binary=:all:", "--implementation=cp"),
            *(f"--python-version={version}", *PLATFORMS),
            *project["dependencies"],
        ],
        check=True,
    )


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_base_dependency_has_a_wheel_for_aarch64(
    version: str, tmp_path: Path
) -> None:
    target = f"--target={tmp_path}"
    pip("install", "--dry-run", "--ignore-installed", target, version=version)


def test_the_wheels_for_aarch64_unpack_to_less_than_300_mb(tmp_path: Path) -> None:
    pip("download", f"--dest={tmp_path}", version="3.11")
    unpacked = 0
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            unpacked += sum(entry.file_size for entry in content.infolist())
    assert 50e6 < unpacked < MOST_MB * 1e6
