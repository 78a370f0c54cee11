"""Messages by apprise, to an endpoint on loopback that takes JSON."""

import base64
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from monitor.config.outputs import ClipSettings, NotifySettings
from monitor.errors import ConfigError
from monitor.extras import install_command
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.hooks import (
    Delivered,
    Hook,
    KeptClips,
    Refused,
    Retry,
    build_hook,
)
from monitor.sinks.clip_files import save
from monitor.text import utc_text
from tests.support.alerts import alert
from tests.support.clips import make_clip
from tests.support.endpoint import (
    Endpoint,
    closing_after,
    ok,
    running_endpoint,
    status,
    unused_port,
)
from tests.support.timed import OPENED

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
    endpoint.will(behaviour)
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


AFTER_SECONDS = 0.5
"""A clip is written so long after its event."""


@pytest.fixture
def clips(tmp_path: Path) -> KeptClips:
    return KeptClips(tmp_path, ClipSettings(after_seconds=AFTER_SECONDS))


def attaching(port: int, clips: KeptClips, *attach: str) -> Hook:
    section = NotifySettings.model_validate({"url_secret": "env:URL", "attach": attach})
    return build_hook(section, PLACE, {"URL": f"json://127.0.0.1:{port}"}, clips)


def ended(**facts: str) -> Alert:
    begins = OPENED + timedelta(seconds=10)
    return alert(kind="end", start=utc_text(begins), **facts)


def attached(endpoint: Endpoint) -> list[str]:
    files = json.loads(endpoint.requests[-1].body)["attachments"]
    return [file["mimetype"] for file in files]


def test_the_end_of_an_event_comes_with_picture_and_sound_of_its_clip(
    endpoint: Endpoint, clips: KeptClips
) -> None:
    save(clips.folder, make_clip(1, "drilling", event_id="another"))
    save(clips.folder, make_clip(1))
    save(clips.folder, make_clip(2))
    notify = attaching(endpoint.port, clips, "picture", "sound")
    assert notify.deliver(ended()) == Delivered("JSON")
    picture, sound = json.loads(endpoint.requests[-1].body)["attachments"]
    name = make_clip(1).name
    assert (picture["filename"], sound["filename"]) == (f"{name}.png", f"{name}.flac")
    assert base64.b64decode(picture["base64"]).startswith(b"\x89PNG")
    assert base64.b64decode(sound["base64"]).startswith(b"fLaC")


def test_it_waits_for_the_clip(endpoint: Endpoint, clips: KeptClips) -> None:
    notify = attaching(endpoint.port, clips, "picture")
    writer = threading.Timer(0.5, save, (clips.folder, make_clip(1)))
    writer.start()
    assert notify.deliver(ended()) == Delivered("JSON")
    writer.join()
    assert attached(endpoint) == ["image/png"]


@pytest.mark.parametrize(
    ("of", "label"),
    [
        (alert(kind="onset", start="2026-11-23T05:56:30Z"), "siren"),
        (ended(end_reason="interrupted"), "siren"),
        (alert(kind="end", start=None), "siren"),
        (ended(), "drilling"),
    ],
    ids=["onset", "interrupted", "of a recording", "a label without clips"],
)
def test_what_has_no_clip_comes_at_once_without_one(
    endpoint: Endpoint, tmp_path: Path, of: Alert, label: str
) -> None:
    kept = KeptClips(tmp_path, ClipSettings(labels=(label,), after_seconds=60))
    began = monotonic()
    outcome = attaching(endpoint.port, kept, "picture").deliver(of)
    assert (outcome, monotonic() - began < 30) == (Delivered("JSON"), True)
    assert attached(endpoint) == []


def test_a_clip_that_the_service_rejects_does_not_keep_the_message_back(
    endpoint: Endpoint, clips: KeptClips
) -> None:
    save(clips.folder, make_clip(1))
    endpoint.will(status(413), ok)
    outcome = attaching(endpoint.port, clips, "picture").deliver(ended())
    assert isinstance(outcome, Delivered)
    assert "without the clip: JSON: " in outcome.detail
    assert attached(endpoint) == []
    assert sent(endpoint)["message"] == "siren at street"


def test_a_redirected_clip_is_not_sent_again_as_a_message(
    endpoint: Endpoint, clips: KeptClips
) -> None:
    save(clips.folder, make_clip(1))
    endpoint.will(status(303, location="http://127.0.0.1:1/"))
    outcome = attaching(endpoint.port, clips, "picture").deliver(ended())
    assert isinstance(outcome, Refused)
    assert len(endpoint.requests) == 1


def test_the_wait_for_a_clip_can_be_cancelled(
    endpoint: Endpoint, clips: KeptClips
) -> None:
    notify = attaching(endpoint.port, clips, "picture")
    canceller = threading.Timer(0.3, notify.cancel)
    canceller.start()
    assert isinstance(notify.deliver(ended()), Retry)
    canceller.join()
    assert not endpoint.requests


def test_a_service_without_attachments_is_found_when_it_is_built(
    clips: KeptClips,
) -> None:
    section = NotifySettings.model_validate(
        {"url_secret": "env:URL", "attach": ["picture"]}
    )
    with pytest.raises(ConfigError, match="takes no attachments"):
        build_hook(section, PLACE, {"URL": "prowl://" + "a" * 40}, clips)
