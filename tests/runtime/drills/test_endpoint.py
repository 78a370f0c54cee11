"""The endpoint of the drills misbehaves on request."""

from collections.abc import Iterator

import httpx
import pytest

from monitor.runtime.drills.endpoint import Endpoint, running_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as endpoint:
        yield endpoint


def post(endpoint: Endpoint, alert_id: str, timeout: float = 30.0) -> int:
    return httpx.post(
        endpoint.url,
        json={"kind": "onset", "event_id": f"of {alert_id}"},
        headers={"webhook-id": alert_id},
        timeout=timeout,
        trust_env=False,
    ).status_code


def test_it_refuses_connections_until_it_is_opened(
    endpoint: Endpoint,
) -> None:
    with pytest.raises(httpx.ConnectError):
        post(endpoint, "a")
    endpoint.open()
    assert post(endpoint, "b") == post(endpoint, "c") == 200
    assert [(it.id, it.kind, it.event_id) for it in endpoint.accepted] == [
        ("b", "onset", "of b"),
        ("c", "onset", "of c"),
    ]


def test_failed_and_hanging_requests_are_not_accepted(endpoint: Endpoint) -> None:
    endpoint.open()
    endpoint.behaviour = "fails"
    assert post(endpoint, "a") == 500
    endpoint.behaviour = "hangs"
    with pytest.raises(httpx.ReadTimeout):
        post(endpoint, "b", timeout=0.3)
    endpoint.behaviour = "accepts"
    assert post(endpoint, "c") == 200
    assert [it.id for it in endpoint.accepted] == ["c"]
    assert endpoint.attempts == 3
