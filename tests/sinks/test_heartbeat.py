"""The heartbeat, to an HTTP endpoint on loopback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from monitor.config.outputs import HeartbeatSettings
from monitor.errors import ConfigError
from monitor.records import SourceStateName
from monitor.sinks.heartbeat import Heartbeat
from tests.support.clock import FakeClock, wait_until
from tests.support.endpoint import dripping, ok, running_endpoint, status, unused_port
from tests.support.timed import statistics


class CountingClock(FakeClock):
    """Counts how often it is read."""

    reads = 0

    def monotonic(self) -> float:
        self.reads += 1
        return super().monotonic()


class RunningHeartbeat:
    """A heartbeat whose monitor is in the state that the test says."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.clock = CountingClock()
        section = HeartbeatSettings.model_validate({"url": url, **settings})
        self.sink = Heartbeat(section, self.clock.monotonic, {})

    def report(self, state: SourceStateName = "listening") -> None:
        self.sink.report(statistics("street", state=state))

    def listen(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.report()

    def wait_for_looks(self) -> None:
        """Wait until the heartbeat has looked, and made a call if one was due."""
        # A look reads the clock once, and once more before a call.
        reads = self.clock.reads + 3
        wait_until(lambda: self.clock.reads >= reads)


@contextmanager
def running_heartbeat(url: str, **settings: Any) -> Iterator[RunningHeartbeat]:
    it = RunningHeartbeat(url, **settings)
    try:
        yield it
    finally:
        it.sink.close()


def test_it_calls_at_once_and_then_every_few_minutes() -> None:
    with running_endpoint() as endpoint, running_heartbeat(endpoint.url) as it:
        it.report()
        endpoint.wait_for(1)
        it.wait_for_looks()
        it.listen(299)
        it.wait_for_looks()
        assert len(endpoint.requests) == 1
        it.listen(1)
        endpoint.wait_for(2)
        assert endpoint.requests[0].body == b""


def test_no_call_is_made_while_no_source_is_listened_to() -> None:
    with running_endpoint() as endpoint, running_heartbeat(endpoint.url) as it:
        it.report("waiting")
        it.wait_for_looks()
        assert len(endpoint.requests) == 0
        it.report()
        endpoint.wait_for(1)


def test_a_worker_that_hangs_stops_the_calls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running_endpoint() as endpoint, running_heartbeat(endpoint.url) as it:
        it.report()
        endpoint.wait_for(1)
        it.clock.advance(300)
        it.wait_for_looks()
        assert len(endpoint.requests) == 1
        assert "no heartbeat: not listening to street" in caplog.text
        it.report()
        endpoint.wait_for(2)
        assert "goes on" in caplog.text


def test_a_failure_is_logged_once_and_the_next_call_comes_sooner(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with (
        running_endpoint(status(500), status(404), ok) as endpoint,
        running_heartbeat(endpoint.url, timeout_seconds=60) as it,
    ):
        for count in (1, 2, 3):
            it.listen(30)
            endpoint.wait_for(count)
        wait_until(lambda: "after 2 failed calls" in caplog.text)
        it.listen(30)
        it.wait_for_looks()
        assert len(endpoint.requests) == 3
    assert caplog.text.count("did not reach") == 1
    assert "HTTP 500" in caplog.text


def test_an_answer_that_drips_is_ended_after_the_time_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        running_endpoint(dripping(b"HTTP/1.1 2"), ok) as endpoint,
        # Longer than the deadline of this test, which so waits for no single read.
        running_heartbeat(endpoint.url, timeout_seconds=120) as it,
    ):
        it.report()
        endpoint.wait_for(1)
        it.listen(121)
        wait_until(lambda: "did not reach" in caplog.text)
        it.listen(30)
        endpoint.wait_for(2)


def test_a_call_in_progress_ends_with_the_monitor() -> None:
    """A thread that went on with the call would fail the check for leaked threads."""
    with (
        running_endpoint(dripping(b"HTTP/1.1 2")) as endpoint,
        running_heartbeat(endpoint.url, timeout_seconds=60) as it,
    ):
        it.report()
        endpoint.wait_for(1)


def test_it_can_post(caplog: pytest.LogCaptureFixture) -> None:
    with (
        running_endpoint() as endpoint,
        running_heartbeat(endpoint.url, method="POST") as it,
    ):
        it.report()
        (request,) = endpoint.wait_for(1)
    assert request.headers["content-length"] == "0"


def test_the_secret_of_the_url_is_never_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://localhost:{unused_port()}/ping/swordfish"
    clock = FakeClock()
    section = HeartbeatSettings(url_secret="env:URL")
    sink = Heartbeat(section, clock.monotonic, {"URL": url})
    sink.report(statistics("street"))
    wait_until(lambda: "did not reach" in caplog.text)
    sink.close()
    assert "swordfish" not in caplog.text + sink.target


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "heartbeat.url_secret: the variable URL is not set"),
        (
            "file:///etc/swordfish",
            "heartbeat.url_secret: env:URL: must begin with https:// or http://",
        ),
    ],
)
def test_an_invalid_url_is_rejected_without_its_text(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Heartbeat(HeartbeatSettings(url_secret="env:URL"), lambda: 0, {"URL": url})
    assert str(caught.value) == said


def test_a_url_and_a_secret_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="not both"):
        HeartbeatSettings(url="http://a", url_secret="env:URL")
