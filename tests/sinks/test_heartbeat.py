"""The heartbeat, to an HTTP endpoint on loopback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import pytest

from monitor.config.outputs import HeartbeatSettings
from monitor.errors import ConfigError
from monitor.records import SourceStateName
from monitor.sinks.heartbeat import Heartbeat
from tests.support.broker import wait_until
from tests.support.clock import FakeClock
from tests.support.endpoint import (
    Endpoint,
    dripping,
    ok,
    running_endpoint,
    status,
    unused_port,
)
from tests.support.timed import statistics

QUIET_SECONDS = 0.5
"""A call that is due comes within a fifth of it."""


class Listener:
    """A heartbeat whose monitor listens as told."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.clock = FakeClock()
        section = HeartbeatSettings.model_validate({"url": url, **settings})
        self.sink = Heartbeat(section, self.clock.monotonic, {})
        self.captured = 0.0

    def hear(self, state: SourceStateName = "listening") -> None:
        self.captured += 1
        self.sink.report(
            statistics("street", captured_seconds=self.captured, state=state)
        )

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.hear()


@contextmanager
def listener(url: str, **settings: Any) -> Iterator[Listener]:
    it = Listener(url, **settings)
    try:
        yield it
    finally:
        it.sink.close()


def stays_at(endpoint: Endpoint, count: int) -> bool:
    sleep(QUIET_SECONDS)
    return len(endpoint.requests) == count


def test_it_calls_at_once_and_then_every_few_minutes() -> None:
    with running_endpoint() as endpoint, listener(endpoint.url) as it:
        it.hear()
        endpoint.wait_for(1)
        it.pass_by(299)
        assert stays_at(endpoint, 1)
        it.pass_by(1)
        endpoint.wait_for(2)
        assert endpoint.requests[0].body == b""


def test_nothing_is_called_while_nothing_is_heard() -> None:
    with running_endpoint() as endpoint, listener(endpoint.url) as it:
        it.hear("waiting")
        assert stays_at(endpoint, 0)
        it.hear()
        endpoint.wait_for(1)


def test_a_worker_that_hangs_makes_it_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running_endpoint() as endpoint, listener(endpoint.url) as it:
        it.hear()
        endpoint.wait_for(1)
        it.clock.advance(300)
        assert stays_at(endpoint, 1)
        assert "no heartbeat: not listening to street" in caplog.text
        it.hear()
        endpoint.wait_for(2)
        assert "goes on" in caplog.text


def test_a_failure_is_said_once_and_called_again_sooner(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with (
        running_endpoint(status(500), status(404), ok) as endpoint,
        listener(endpoint.url) as it,
    ):
        for count in (1, 2, 3):
            it.pass_by(30)
            endpoint.wait_for(count)
        wait_until(lambda: "after 2 that failed" in caplog.text)
        it.pass_by(30)
        assert stays_at(endpoint, 3)
    assert caplog.text.count("did not reach") == 1
    assert "HTTP 500" in caplog.text


def test_an_endpoint_that_drips_is_left_after_the_time_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        running_endpoint(dripping(b"HTTP/1.1 2"), ok) as endpoint,
        listener(endpoint.url) as it,
    ):
        it.hear()
        endpoint.wait_for(1)
        it.pass_by(11)
        wait_until(lambda: "did not reach" in caplog.text)
        it.pass_by(30)
        endpoint.wait_for(2)


def test_a_call_under_way_does_not_keep_the_monitor_from_ending() -> None:
    with running_endpoint(dripping(b"HTTP/1.1 2")) as endpoint:
        with listener(endpoint.url) as it:
            it.hear()
            endpoint.wait_for(1)
            began = monotonic()
        assert monotonic() - began < 1


def test_it_can_post(caplog: pytest.LogCaptureFixture) -> None:
    with (
        running_endpoint() as endpoint,
        listener(endpoint.url, method="POST") as it,
    ):
        it.hear()
        (request,) = endpoint.wait_for(1)
    assert request.headers["content-length"] == "0"


def test_the_secret_of_the_url_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
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
def test_what_is_no_url_is_told_without_it(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Heartbeat(HeartbeatSettings(url_secret="env:URL"), lambda: 0, {"URL": url})
    assert str(caught.value) == said


def test_there_is_one_url() -> None:
    with pytest.raises(ValueError, match="not both"):
        HeartbeatSettings(url="http://a", url_secret="env:URL")
