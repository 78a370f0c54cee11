"""Installing the service says what it does, and overwrites no configuration."""

from pathlib import Path

import pytest

from monitor.errors import ConfigError, UsageError
from monitor.runtime.service_install import (
    Step,
    carry_out,
    plan_install,
    plan_uninstall,
    shipped,
)

PROGRAM = Path("/opt/sound-monitor/bin/sound-monitor")


class Machine:
    """A machine below a folder, without systemd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unit = root / "etc/systemd/system/sound-monitor.service"
        self.config = root / "etc/sound-monitor/config.yaml"
        self.link = root / "usr/local/bin/sound-monitor"

    def install(
        self, config: Path | None = None, program: Path = PROGRAM, *, web: bool = False
    ) -> list[str]:
        return perform(plan_install(program, config, self.root, web=web))

    def files(self) -> dict[str, str]:
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {path.name: path.read_text() for path in found}


def perform(steps: list[Step]) -> list[str]:
    """Perform what changes files; return all sentences."""
    for step in steps:
        if step.perform is not None and "systemctl" not in step.sentence:
            step.perform()
    return [step.sentence for step in steps]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_empty_machine_gets_unit_and_explained_defaults(machine):
    sentences = machine.install()
    assert f"ExecStart={PROGRAM} run\n" in machine.unit.read_text()
    assert machine.config.read_text() == shipped("config.yaml")
    assert machine.config.stat().st_mode & 0o777 == 0o644
    assert [sentence.partition(": ")[2] for sentence in sentences[-3:]] == [
        "systemctl daemon-reload",
        "systemctl enable sound-monitor",
        "systemctl restart sound-monitor",
    ]


def test_the_page_is_a_service_of_its_own_that_stays_until_both_are_removed(machine):
    unit = machine.unit.with_name("sound-monitor-web.service")
    machine.install()
    assert not unit.exists()
    sentences = machine.install(web=True)
    assert f"ExecStart={PROGRAM} web\n" in unit.read_text()
    assert sentences[-1].endswith("systemctl restart sound-monitor sound-monitor-web")
    unit.write_text("of an older version")
    assert machine.install()[-1].endswith("sound-monitor sound-monitor-web")
    assert "of an older version" not in unit.read_text()
    sentences = perform(plan_uninstall(machine.root))
    assert sentences[0].endswith("disable --now sound-monitor-web sound-monitor")
    assert not unit.exists()
    assert not machine.unit.exists()


def test_a_configuration_that_was_changed_is_left_as_it_is(machine):
    machine.install()
    machine.config.write_text("ring_seconds: 60\n")
    assert f"keep {machine.config}" in machine.install()
    assert machine.config.read_text() == "ring_seconds: 60\n"


def test_a_chosen_configuration_is_copied_once(machine, tmp_path):
    chosen = tmp_path / "mine.yaml"
    chosen.write_text("ring_seconds: 60\n")
    machine.install(chosen)
    assert machine.config.read_text() == chosen.read_text()
    machine.install(chosen)
    chosen.write_text("ring_seconds: 90\n")
    with pytest.raises(UsageError, match="it is not overwritten"):
        machine.install(chosen)
    assert machine.config.read_text() == "ring_seconds: 60\n"


@pytest.mark.parametrize("place", ["present", "chosen"])
def test_a_wrong_configuration_is_refused_before_anything_changes(
    machine, tmp_path, place
):
    chosen = tmp_path / "mine.yaml"
    wrong = chosen if place == "chosen" else machine.config
    wrong.parent.mkdir(parents=True, exist_ok=True)
    wrong.write_text("ring_seconds: 1\n")
    before = machine.files()
    with pytest.raises(ConfigError, match=r"ring_seconds: 1 must be at least 5"):
        machine.install(chosen if place == "chosen" else None)
    assert machine.files() == before


def test_an_upgrade_replaces_the_unit_and_keeps_the_old_one(machine):
    machine.install()
    machine.unit.write_text("mine")
    machine.install()
    assert "ExecStart" in machine.unit.read_text()
    assert machine.unit.with_name("sound-monitor.service.old").read_text() == "mine"
    assert f"keep {machine.unit}: it is up to date" in machine.install()


def test_removing_takes_the_unit_and_leaves_configuration_and_data(machine):
    machine.install()
    state = machine.root / "var/lib/sound-monitor"
    state.mkdir(parents=True)
    sentences = perform(plan_uninstall(machine.root))
    assert not machine.unit.exists()
    assert machine.config.exists()
    assert "systemctl disable --now sound-monitor" in sentences[0]
    for left in (state, machine.config.parent):
        assert any(text.startswith(f"keep {left}:") for text in sentences)


def test_the_program_is_linked_into_the_path_until_it_is_removed(machine):
    sentences = machine.install()
    assert f"link {machine.link} to {PROGRAM}" in sentences
    assert machine.link.readlink() == PROGRAM
    assert f"keep {machine.link}" in machine.install()
    perform(plan_uninstall(machine.root))
    assert not machine.link.is_symlink()


def test_a_link_to_the_former_program_is_replaced(machine):
    machine.install(program=Path("/opt/former/bin/sound-monitor"))
    machine.install()
    assert machine.link.readlink() == PROGRAM


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_not_of_the_service_is_neither_replaced_nor_removed(machine, kind):
    machine.link.parent.mkdir(parents=True)
    if kind == "file":
        machine.link.write_text("mine")
    else:
        machine.link.symlink_to("/usr/bin/mine")
    sentences = machine.install()
    assert any("it is not of this service" in each for each in sentences)
    perform(plan_uninstall(machine.root))
    if kind == "file":
        assert machine.link.read_text() == "mine"
    else:
        assert machine.link.readlink() == Path("/usr/bin/mine")


def test_where_nothing_is_installed_nothing_is_removed(machine):
    (step,) = plan_uninstall(machine.root)
    assert step.perform is None


def test_a_dry_run_tells_all_and_does_nothing(machine):
    planned: list[str] = []
    carry_out(plan_install(PROGRAM, None, machine.root), planned.append, dry_run=True)
    assert machine.files() == {}
    assert len(planned) == 6
    assert not machine.link.is_symlink()
    assert all(sentence.startswith("would ") for sentence in planned)
