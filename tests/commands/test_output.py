"""Tables and lines are aligned, whole and free of control characters."""

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


def test_control_characters_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line("a\x1b[2Jb")
    print_table(("NAME",), [("a\x1b[2Jb",)])
    assert "\x1b" not in capsys.readouterr().out


def test_a_number_outside_json_is_a_bug() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        print_json({"level": float("nan")})
