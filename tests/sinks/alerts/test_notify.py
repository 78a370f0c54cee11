"""Messages by apprise, to an endpoint on loopback that takes JSON."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from monitor.config.outputs import NotifySettings
from monitor.errors import ConfigError
from monitor.extras import install_command
from monitor.sinks.alerts.hooks import Delivered, Hook, Refused, Retry, build_hook
from tests.support.alerts import alert
from tests.support.endpoint import (
    Endpoint,
    closing_after,
    running_endpoint,
    status,
    unused_port,
)

PLACE = "alerts[0].notify"
SECRETS = ("bearded-token", "anna-user", "swordfish")

# apprise imports it while it looks for its services.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as endpoint:
        yield endpoint


def hook(port: int, **settings: str) -> Hook:
    url = f"json://anna-user:swordfish@127.0.0.1:{port}/bearded-token"
    section = NotifySettings.model_validate({"url_secret": "env:URL", **settings})
    return build_hook(section, PLACE, {"URL": url})


def sent(endpoint: Endpoint) -> dict[str, str]:
    message: dict[str, str] = json.loads(endpoint.requests[-1].body)
    return message


def test_an_alert_arrives_with_its_message_and_the_name_of_its_rule(
    endpoint: Endpoint,
) -> None:
    assert hook(endpoint.port).deliver(alert()) == Delivered("JSON")
    assert sent(endpoint)["title"] == "sound-monitor: siren"
    assert sent(endpoint)["message"] == "siren at street"
    assert sent(endpoint)["type"] == "info"


def test_an_escalation_is_a_warning(endpoint: Endpoint) -> None:
    hook(endpoint.port).deliver(alert(escalation=True))
    assert sent(endpoint)["type"] == "warning"


def test_the_text_can_be_of_an_own_form(endpoint: Endpoint) -> None:
    template = "$label, score $peak_score: $$5\\n"
    hook(endpoint.port, body=template).deliver(alert(label="gun_shot"))
    assert sent(endpoint)["message"].strip() == "gun_shot, score 0.93: $5\\n"


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [(status(500), "error=500"), (closing_after(b"HTTP/1.1"), "onnection")],
)
def test_a_failure_is_tried_again_with_the_reason_of_apprise(
    endpoint: Endpoint, behaviour: object, why: str
) -> None:
    endpoint.will(behaviour)  # type: ignore[arg-type]
    outcome = hook(endpoint.port).deliver(alert())
    assert isinstance(outcome, Retry)
    assert why in outcome.reason
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_refusal(endpoint: Endpoint, code: int) -> None:
    endpoint.will(status(code, location="http://127.0.0.1:1/"))
    outcome = hook(endpoint.port).deliver(alert())
    assert isinstance(outcome, Refused)
    assert f"error={code}" in outcome.reason
    assert len(endpoint.requests) == 1


def test_no_part_of_the_url_is_reported() -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        notify = hook(unused_port())
        outcome = notify.deliver(alert())
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    shown = f"{outcome} {notify.target} {log.getvalue()}"
    assert isinstance(outcome, Retry)
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense", "json://"])
def test_a_url_that_apprise_does_not_know_is_reported_without_it(url: str) -> None:
    section = NotifySettings(url_secret="env:URL")
    with pytest.raises(ConfigError) as caught:
        build_hook(section, PLACE, {"URL": url})
    message = f"{PLACE}.url_secret: env:URL: is not a URL that apprise knows"
    assert str(caught.value) == message


def test_without_apprise_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError) as caught:
        hook(1)
    message = f"{PLACE}: needs the extra notify, which is not installed: run "
    assert str(caught.value) == f"{message}`{install_command('notify')}`"


def test_an_unknown_field_of_the_text_is_found_when_it_is_read() -> None:
    with pytest.raises(ValueError, match=r"did you mean \$label"):
        NotifySettings(url_secret="env:URL", body="$labl")
