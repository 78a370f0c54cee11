"""What commands print for people can be read, cut up and trusted."""

import pytest

from monitor.commands.output import print_json, print_line, print_table


def test_a_table_in_a_pipe_is_aligned_and_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "x" * 300
    print_table(("NAME", "ID"), [("a[bold]b", "1"), (long, "22")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ID"]
    assert lines[1].split() == ["a[bold]b", "1"]  # no markup
    assert lines[2].split() == [long, "22"]
    assert lines[1].index("1") == lines[2].index("22")


def test_a_name_from_elsewhere_cannot_command_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line("a\x1b[2Jb")
    print_table(("NAME",), [("a\x1b[2Jb",)])
    assert "\x1b" not in capsys.readouterr().out


def test_numbers_that_json_does_not_know_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        print_json({"level": float("nan")})
