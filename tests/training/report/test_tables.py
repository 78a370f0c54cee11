"""Figures are tables: with lines where people look, plain where programs read."""

import io

from rich.console import Console
from rich.table import Table

from training.report.tables import print_table


def printed(console: Console) -> list[str]:
    table = Table("label", "onset")
    table.add_row("dog [big]", "0.5")
    table.add_row("siren", "")
    print_table(console, table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_table_in_a_pipe_has_columns_alone() -> None:
    console = Console(file=io.StringIO(), width=200, markup=False)
    assert printed(console) == ["label      onset", "dog [big]  0.5", "siren"]


def test_a_table_on_a_terminal_or_a_page_has_lines() -> None:
    for options in ({"force_terminal": True}, {"record": True}):
        console = Console(file=io.StringIO(), width=200, markup=False, **options)
        assert "│" in printed(console)[3]
