"""No answer of a server to a webhook can harm the monitor."""

import random
import tracemalloc

import pytest

from monitor.config.hooks import WebhookSettings
from monitor.sinks.alerts.hooks import Delivered, Refused, Retry
from monitor.sinks.alerts.hooks.webhook import Webhook
from tests.support.alerts import alert
from tests.support.endpoint import Behaviour, Talk, closing_after, running_endpoint
from tests.support.fuzzing import damaged

LONGEST_REASON = 300
SOUND_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Mon, 01 Jan 2035 00:00:00 GMT\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://localhost/next\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Encoding: gzip\r\nRetry-After: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]


def outcome_of(behaviour: Behaviour) -> Delivered | Retry | Refused:
    with running_endpoint(behaviour) as endpoint:
        settings = WebhookSettings(url=endpoint.url, total_seconds=5.0)
        hook = Webhook(settings, "alerts[0].webhook", {})
        try:
            return hook.deliver(alert())
        finally:
            hook.close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://[x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: //]\r\n\r\n",
        b"HTTP/1.1 307 Found\r\nLocation: http://" + b"x" * 50_000 + b"/\r\n\r\n",
        b"HTTP/1.1 308 Found\r\nLocation: \xff\xfe\x1b[2J\r\n\r\n",
        b"HTTP/1.1 503 X\r\nRetry-After: Mon, 01 Jan 2020 00:00:00 +" + b"9" * 20
        + b"\r\n\r\n",
        b"HTTP/1.1 503 X\r\nRetry-After: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 503 X\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 10**6,
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10**5,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"\x00" * 10**6,
    ],
    ids=range(12),
)  # fmt: skip
def test_a_head_that_makes_no_sense_is_no_delivery(head: bytes) -> None:
    outcome = outcome_of(closing_after(head))
    assert isinstance(outcome, Retry | Refused)
    assert len(outcome.reason) <= LONGEST_REASON
    if isinstance(outcome, Retry) and outcome.after_seconds is not None:
        assert 0 <= outcome.after_seconds <= 3600


def test_a_body_without_end_costs_no_memory() -> None:
    def flood(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 400 No\r\nContent-Encoding: gzip\r\n\r\n")
        part = bytes(2**16)
        while not talk.closing.is_set():
            talk.send(part)

    tracemalloc.start()
    try:
        outcome = outcome_of(flood)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, Refused)
    assert peak < 4 * 2**20


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_answer_has_an_outcome(seed: int) -> None:
    chance = random.Random(seed)
    answer = damaged(chance.choice(SOUND_ANSWERS), chance)
    outcome = outcome_of(closing_after(answer))
    assert isinstance(outcome, Delivered | Retry | Refused)
    text = outcome.detail if isinstance(outcome, Delivered) else outcome.reason
    assert len(text) <= LONGEST_REASON
