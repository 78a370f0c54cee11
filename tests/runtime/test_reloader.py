"""A reload is asked for on the main thread, which never waits for it."""

import threading
from collections.abc import Callable
from typing import cast

import pytest

from monitor.errors import ConfigError
from monitor.runtime.app import Station
from monitor.runtime.reload import Again, Reloader
from monitor.runtime.supervisor import Supervisor
from monitor.runtime.threads import Threads
from monitor.sinks.status_snapshot import DaemonFacts

DEADLINE_SECONDS = 10.0


class Manager:
    """Remembers what a supervisor was told to say."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def reloading(self) -> None:
        self.said.append("reloading")

    def reloaded(self, remark: str) -> None:
        self.said.append(remark or "reloaded")


class Refusals:
    """A reloader whose configuration takes its time to be read, and is wrong."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.reads = 0
        self.ended = threading.Event()
        self.manager = Manager()
        self.threads = Threads()
        self.asked: list[Callable[[], None]] = []
        self.facts = DaemonFacts()
        self.reloader = Reloader(
            cast("Station", self),
            self.reread,
            self.threads,
            cast("Supervisor", self.manager),
            self.ended.set,
        )

    # As much of a station as a refusal needs.
    @property
    def site(self) -> "Refusals":
        return self

    @property
    def monitor(self) -> "Refusals":
        return self

    @property
    def worker(self) -> "Refusals":
        return self

    def ask(self, change: Callable[[], None]) -> None:
        self.asked.append(change)

    def reopen_sinks(self) -> None:
        """What logrotate asked for."""

    def reread(self) -> Again:
        self.reads += 1
        assert self.release.wait(DEADLINE_SECONDS)
        raise ConfigError("config.yaml: no")

    def wait(self) -> None:
        assert self.ended.wait(DEADLINE_SECONDS)
        self.ended.clear()
        assert self.threads.join(DEADLINE_SECONDS) == []


def test_the_main_thread_never_waits_and_many_wishes_are_one() -> None:
    refusals = Refusals()
    for _ in range(5):
        refusals.reloader.ask()
        refusals.reloader.look()
    assert refusals.manager.said == ["reloading"]
    refusals.release.set()
    refusals.wait()
    refusals.reloader.look()
    refusals.wait()
    refusals.reloader.look()
    # The one that was going on, and one for all who asked meanwhile.
    assert refusals.reads == 2
    refused = "the new configuration was refused, see the log"
    assert refusals.manager.said == ["reloading", refused] * 2


def test_a_refusal_still_opens_the_log_anew_and_is_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = Refusals()
    refusals.release.set()
    refusals.reloader.ask()
    refusals.wait()
    assert refusals.asked == [refusals.reopen_sinks]
    assert refusals.facts.reload is not None
    assert not refusals.facts.reload.is_taken
    assert refusals.facts.reload.detail == "config.yaml: no"
    assert caplog.messages == [
        "the configuration was not reloaded, and the one before goes on: "
        "config.yaml: no"
    ]
