"""Gathers the figures of the fault tests in one table.

`pytest -m "slow and not soak" tests/faults --fault-table FILE` also writes it as
Markdown.
"""

from pathlib import Path

import pytest

from tests.support.fault_monitor import Figure

FIGURES: pytest.StashKey[list[Figure]] = pytest.StashKey()

HEAD = (
    "| fault | seconds until recovery | seconds lost | alerts lost |",
    "|---|---|---|---|",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", metavar="FILE", help="write the figures there")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[Figure]:
    """The figures of the tests; a repeated test replaces its figure."""
    return pytestconfig.stash[FIGURES]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    figures = {figure.drill: figure for figure in config.stash[FIGURES]}
    if not figures:
        return
    lines = [*HEAD, *(_line(figure) for figure in figures.values())]
    terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
    path = config.getoption("--fault-table", None)
    if path is not None:
        Path(path).write_text("\n".join([*lines, ""]))


def _line(figure: Figure) -> str:
    numbers = (figure.recovered_seconds, figure.lost_seconds)
    cells = ["-" if number is None else f"{number:.1f}" for number in numbers]
    alerts = "-" if figure.lost_alerts is None else str(figure.lost_alerts)
    return f"| {' | '.join([figure.drill, *cells, alerts])} |"
