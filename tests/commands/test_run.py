"""`run` says what it does before it listens."""

import logging
import sys
import threading

import pytest

from monitor.commands.run import notice_of_loading
from tests.support.clock import wait_until


@pytest.mark.parametrize(
    ("seconds", "messages"),
    [
        (0, ["loading the model ..."]),
        (3600, []),  # it was quick
    ],
)
def test_a_terminal_is_told_of_a_long_start(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    messages: list[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level(logging.INFO), notice_of_loading(seconds) as loaded:
        wait_until(lambda: caplog.messages == messages)
        loaded()
        wait_until(
            lambda: "loading" not in {thread.name for thread in threading.enumerate()}
        )
    assert caplog.messages == messages


def test_a_log_is_not_told_of_a_long_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with notice_of_loading(3600):
        assert "loading" not in {thread.name for thread in threading.enumerate()}
