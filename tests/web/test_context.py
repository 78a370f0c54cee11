"""The page follows the configuration of the monitor, without a restart."""

from pathlib import Path

import pytest

from monitor.commands.configuration import load
from monitor.commands.web import current_context
from monitor.runtime.rollout_state import RolloutState, bundle_folder
from monitor.web.app import build_app
from monitor.web.context import WebContext
from tests.support.bundles import offered, public
from tests.support.web import WebClient

BEFORE = """\
state_dir: {folder}
privacy: clips
sources: [{{name: yard, input: "demo:"}}]
"""
AFTER = """\
state_dir: {folder}
sources: [{{name: street, input: "demo:"}}]
web: {{may_change: [sensitivity], listen: "0.0.0.0:1"}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(BEFORE.format(folder=tmp_path))
    return path


@pytest.fixture
def context(file: Path) -> WebContext:
    configuration = load(file, {})
    return current_context(configuration, configuration.config, file.parent)


def test_a_changed_configuration_reaches_the_page(
    file: Path, context: WebContext
) -> None:
    client = WebClient(build_app(context))
    assert "yard" in client.get("/").text
    assert context.clips == file.parent / "clips"
    assert 'id="apply"' not in client.get("/thresholds").text
    listen = context.config.web.listen
    file.write_text(AFTER.format(folder=file.parent))
    page = client.get("/").text
    assert context.clips is None
    assert "street" in page
    assert "yard" not in page
    assert 'id="apply"' in client.get("/thresholds").text
    assert context.config.web.listen == listen


def test_a_bundle_of_the_fleet_reaches_the_page(
    file: Path, context: WebContext, tmp_path: Path
) -> None:
    rollout = f"{{url: 'file:/none', public_keys: ['{public()}']}}"
    file.write_text(f"{BEFORE.format(folder=tmp_path)}rollout: {rollout}\n")
    context.refresh()
    assert context.config.detection.sensitivity == 0.5
    folder = bundle_folder(tmp_path)
    folder.path.mkdir()
    settings = '{"detection": {"sensitivity": 0.9}}'
    (folder.path / "1.json").write_text(settings)
    folder.write(RolloutState(running=offered(1)))
    context.refresh()
    assert context.config.detection.sensitivity == 0.9


@pytest.mark.parametrize("text", [None, "privacy: [", "privacy: everything"])
def test_without_a_valid_configuration_there_are_no_clips(
    file: Path, context: WebContext, text: str | None
) -> None:
    client = WebClient(build_app(context))
    client.get("/")
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    assert "yard" in client.get("/").text
    assert context.clips is None
    assert "cannot be read again" in client.get("/system").text
    file.write_text(BEFORE.format(folder=file.parent))
    assert "cannot be read again" not in client.get("/system").text
    assert context.clips == file.parent / "clips"


def test_overrides_reach_the_page(file: Path, context: WebContext) -> None:
    client = WebClient(build_app(context))
    client.get("/")
    (file.parent / "overrides.yaml").write_text("detection: {sensitivity: 0.8}\n")
    client.get("/")
    assert context.config.detection.sensitivity == 0.8
