"""`run` says what it does before it listens."""

import logging
import sys
import threading

import pytest

from monitor.commands.run import notice_of_loading
from tests.support.clock import wait_until


@pytest.mark.parametrize(
    ("is_terminal", "seconds", "messages"),
    [
        (True, 0, ["loading the model ..."]),
        (True, 3600, []),  # it was quick
        (False, 0, []),
    ],
)
def test_a_terminal_is_told_of_a_long_start(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    seconds: float,
    messages: list[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with caplog.at_level(logging.INFO), notice_of_loading(seconds) as loaded:
        wait_until(lambda: caplog.messages == messages)
        loaded()
        wait_until(
            lambda: "loading" not in {thread.name for thread in threading.enumerate()}
        )
    assert caplog.messages == messages
