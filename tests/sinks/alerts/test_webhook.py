"""The webhook against servers on loopback that behave, and that do not."""

import base64
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from standardwebhooks import Webhook as Verifier

from monitor.config.hooks import WebhookSettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.hooks import Delivered, Outcome, Refused, Retry
from monitor.sinks.alerts.hooks.webhook import Webhook
from tests.support.alerts import SECRET, alert
from tests.support.endpoint import (
    Endpoint,
    Talk,
    closing_after,
    dripping,
    ok,
    running_endpoint,
    silent,
    status,
    unused_port,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


def webhook(
    url: str, environ: dict[str, str] | None = None, **settings: Any
) -> Webhook:
    section = WebhookSettings.model_validate({"url": url, **settings})
    return Webhook(section, "alerts[0].webhook", environ or {})


def deliver(
    endpoint: Endpoint | str, environ: dict[str, str] | None = None, **settings: Any
) -> Outcome:
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    hook = webhook(url, environ, **settings)
    try:
        return hook.deliver(alert())
    finally:
        hook.close()


def test_an_alert_arrives_as_json_with_its_id() -> None:
    with running_endpoint() as endpoint:
        assert deliver(endpoint) == Delivered("HTTP 200")
    (request,) = endpoint.requests
    assert json.loads(request.body) == alert().body
    assert request.headers["webhook-id"] == alert().id
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("sound-monitor/")


def test_the_published_verifier_accepts_the_signature_of_either_secret() -> None:
    other = "whsec_" + base64.b64encode(b"another secret of 24 bytes").decode()
    environ = {"SECRETS": f"{SECRET}\n{other}\n"}
    with running_endpoint() as endpoint:
        assert isinstance(deliver(endpoint, environ, secret="env:SECRETS"), Delivered)
    (request,) = endpoint.requests
    assert request.headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, other):
        assert Verifier(secret).verify(request.body, request.headers) == alert().body
    with pytest.raises(Exception, match="signature"):
        Verifier("whsec_" + "A" * 32).verify(request.body, request.headers)


def test_secrets_and_own_headers_go_into_the_request(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{SECRET}\n")
    environ = {"TOKEN": "open sesame", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    (tmp_path / "key").write_text("k-1\n")
    with running_endpoint() as endpoint:
        deliver(
            endpoint,
            environ,
            secret_file=str(secrets),
            bearer="env:TOKEN",
            headers={"X-Site": "gate"},
            secret_headers={"X-Api-Key": "credential:key"},
        )
        deliver(
            endpoint,
            environ,
            basic_user="me",
            basic_password=f"file:{tmp_path / 'key'}",
        )
    first, second = endpoint.requests
    assert first.headers["authorization"] == "Bearer open sesame"
    assert first.headers["x-site"] == "gate"
    assert first.headers["x-api-key"] == "k-1"
    Verifier(SECRET).verify(first.body, first.headers)
    assert base64.b64decode(second.headers["authorization"].split()[1]) == b"me:k-1"


def test_a_template_gives_the_body() -> None:
    with running_endpoint() as endpoint:
        deliver(endpoint, body='{"text": "$label at ${source}: $$$peak_score"}')
    assert json.loads(endpoint.requests[0].body) == {"text": "siren at street: $0.93"}


def test_a_refused_connection_is_tried_again() -> None:
    outcome = deliver(f"http://localhost:{unused_port()}/")
    assert isinstance(outcome, Retry)
    assert outcome.reason == "no connection: Connection refused"


def test_an_unknown_host_is_tried_again() -> None:
    assert isinstance(deliver("http://no-such-host.invalid/"), Retry)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_success_is_a_delivery(code: int) -> None:
    with running_endpoint(status(code)) as endpoint:
        assert deliver(endpoint) == Delivered(f"HTTP {code}")


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 413, 422])
def test_a_permanent_error_is_not_tried_again(code: int) -> None:
    with running_endpoint(status(code, b"no\nsuch thing")) as endpoint:
        assert deliver(endpoint) == Refused(f"HTTP {code}: no such thing")


def test_a_signature_with_the_time_of_a_wrong_clock_is_tried_again() -> None:
    """A receiver takes none that is older than minutes; the clock is set later."""
    environ = {"SECRETS": SECRET}
    date = format_datetime(datetime.now(UTC) + timedelta(days=5), usegmt=True)
    with running_endpoint(status(401, Date=date)) as endpoint:
        outcome = deliver(endpoint, environ, secret="env:SECRETS")
        assert isinstance(outcome, Retry)
        assert "wrong clock" in outcome.reason
        assert isinstance(deliver(endpoint), Refused)  # is not signed
        date = format_datetime(datetime.now(UTC), usegmt=True)
        endpoint.will(status(401, Date=date))
        assert isinstance(deliver(endpoint, environ, secret="env:SECRETS"), Refused)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_temporary_error_is_tried_again(code: int) -> None:
    with running_endpoint(status(code)) as endpoint:
        assert deliver(endpoint) == Retry(f"HTTP {code}", None)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7", 7), ("0", 0), ("999999", 3600), ("soon", None), ("-3", None)],
)
def test_retry_after_in_seconds_is_obeyed(asked: str, seconds: float | None) -> None:
    with running_endpoint(status(429, Retry_After=asked)) as endpoint:
        assert deliver(endpoint) == Retry("HTTP 429", seconds)


@pytest.mark.parametrize(
    ("answered", "seconds"),
    [("18:00:00", 90), ("18:01:40", 0), ("10:00:00", 3600), ("soon", 0)],
)
def test_a_date_of_retry_after_is_compared_with_that_of_the_answer(
    answered: str, seconds: float
) -> None:
    """Our own clock may be years off; it counts only if the answer has no date."""
    day = "Wed, 04 Mar 2026"
    headers = {"Retry_After": f"{day} 18:01:30 GMT", "Date": f"{day} {answered} GMT"}
    with running_endpoint(status(503, **headers)) as endpoint:
        assert deliver(endpoint) == Retry("HTTP 503", seconds)


@pytest.mark.parametrize(("ahead", "least", "most"), [(90, 85, 90), (-90, 0, 0)])
def test_retry_after_as_a_date_is_obeyed(ahead: int, least: int, most: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    with running_endpoint(status(503, Retry_After=date)) as endpoint:
        outcome = deliver(endpoint)
    assert isinstance(outcome, Retry)
    assert outcome.after_seconds is not None
    assert least <= outcome.after_seconds <= most


def test_a_server_without_an_answer_is_left_after_the_time_limit() -> None:
    with running_endpoint(silent) as endpoint:
        assert deliver(endpoint, total_seconds=0.2) == Retry("no answer in 0.2 s")


@pytest.mark.parametrize("head", [b"HTTP/1.1 20", b"HTTP/1.1 500 No\r\nX: "])
def test_a_dripping_answer_can_be_cancelled(head: bytes) -> None:
    with running_endpoint(dripping(head)) as endpoint:
        hook = webhook(endpoint.url)
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(hook.deliver(alert())))
        thread.start()
        endpoint.wait_for(1)
        hook.cancel()
        thread.join(5)
        assert not thread.is_alive()
        assert isinstance(outcomes[0], Retry)
        endpoint.will(ok)
        assert isinstance(hook.deliver(alert()), Delivered)  # it stays usable
        hook.close()


def test_a_success_whose_body_drips_is_a_delivery_when_it_is_cancelled() -> None:
    sent = threading.Event()

    def head_and_drip(talk: Talk) -> None:
        talk.send(HEAD)
        sent.set()
        dripping(b"x")(talk)

    with running_endpoint(head_and_drip) as endpoint:
        hook = webhook(endpoint.url)
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(hook.deliver(alert())))
        thread.start()
        assert sent.wait(10)
        hook.cancel()
        thread.join(5)
        hook.close()
    assert outcomes == [Delivered("HTTP 200")]


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX-Y"])
def test_a_connection_that_breaks_before_the_answer_is_tried_again(data: bytes) -> None:
    with running_endpoint(closing_after(data)) as endpoint:
        assert isinstance(deliver(endpoint), Retry)


def test_a_connection_that_breaks_after_the_status_has_delivered() -> None:
    with running_endpoint(closing_after(HEAD + b"half")) as endpoint:
        assert deliver(endpoint) == Delivered("HTTP 200")


@pytest.mark.parametrize("code", [200, 500])
def test_no_more_of_an_answer_is_read_than_the_limit(code: int) -> None:
    sent = []

    def flood(talk: Any) -> None:
        talk.send(b"HTTP/1.1 %d OK\r\n\r\n" % code)
        while not talk.closing.is_set():
            talk.send(b"x" * 65_536)
            sent.append(1)

    with running_endpoint(flood) as endpoint:
        outcome = deliver(endpoint, response_kib=16)
    assert isinstance(outcome, Delivered if code == 200 else Retry)
    assert len(str(outcome)) < 400
    assert len(sent) < 200  # what the buffers of the sockets hold


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_is_followed_with_the_same_request(
    code: int,
) -> None:
    with running_endpoint(status(code, Location="/new"), ok) as endpoint:
        assert deliver(endpoint, {"T": "t"}, bearer="env:T") == Delivered("HTTP 200")
    first, second = endpoint.requests
    assert (first.path, second.path) == ("/hook", "/new")
    assert first.body == second.body
    assert second.headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/x", "http://localhost:1/x", "file:///etc/x"]
)
def test_a_redirect_to_elsewhere_is_not_followed(target: str) -> None:
    with running_endpoint() as endpoint:
        location = target.format(port=endpoint.port)
        endpoint.will(status(302, Location=location))
        outcome = deliver(endpoint)
    assert isinstance(outcome, Refused)
    assert "not followed" in outcome.reason
    assert "accept_redirect: true" in outcome.reason
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("code", "location"),
    [(303, "/seen"), (307, "http://127.0.0.1:1/"), (302, ""), (308, "http://[")],
)
def test_what_cannot_be_followed_is_a_refusal(code: int, location: str) -> None:
    with running_endpoint(status(code, Location=location)) as endpoint:
        outcome = deliver(endpoint)
    assert isinstance(outcome, Refused)
    assert ("accept_redirect" in outcome.reason) == (code in (302, 303))
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303])
@pytest.mark.parametrize("location", ["/thanks", "http://elsewhere.example/done", ""])
def test_a_redirect_can_count_as_a_delivery(code: int, location: str) -> None:
    with running_endpoint(status(code, Location=location)) as endpoint:
        assert deliver(endpoint, accept_redirect=True) == Delivered(f"HTTP {code}")
    assert len(endpoint.requests) == 1


def test_a_redirect_that_asks_for_the_post_again_is_no_delivery() -> None:
    with running_endpoint(status(307, Location="/new"), ok) as endpoint:
        assert deliver(endpoint, accept_redirect=True) == Delivered("HTTP 200")
        endpoint.will(status(308, Location="http://127.0.0.1:1/"))
        assert isinstance(deliver(endpoint, accept_redirect=True), Refused)


def test_a_circle_of_redirects_ends() -> None:
    with running_endpoint(status(307, Location="/hook")) as endpoint:
        assert deliver(endpoint) == Refused("more than 3 redirects")
    assert len(endpoint.requests) == 4


def test_the_configured_authority_is_trusted_and_another_one_is_not(
    tmp_path: Path,
) -> None:
    authority, foreign = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    for name, each in (("own", authority), ("foreign", foreign)):
        each.cert_pem.write_to_path(str(tmp_path / name))
    with running_endpoint(tls=context) as endpoint:
        assert deliver(endpoint, ca_file=str(tmp_path / "own")) == Delivered("HTTP 200")
        for ca_file in (str(tmp_path / "foreign"), None):
            outcome = deliver(endpoint, ca_file=ca_file)
            assert isinstance(outcome, Retry)
            assert "CERTIFICATE_VERIFY_FAILED" in outcome.reason


def test_a_hanging_tls_connection_can_be_cancelled(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "own"))
    with running_endpoint(silent, tls=context) as endpoint:
        hook = webhook(endpoint.url, ca_file=str(tmp_path / "own"))
        thread = threading.Thread(target=hook.deliver, args=(alert(),))
        thread.start()
        endpoint.wait_for(1)
        hook.cancel()
        thread.join(10)
        assert not thread.is_alive()
        hook.close()


def test_no_secret_is_in_an_outcome_or_in_the_target() -> None:
    environ = {"URL": "http://localhost:{}/token-1?key=token-2", "T": "token-3"}

    def echo(talk: Any) -> None:
        text = f"{talk.request.path} {talk.request.headers}"
        talk.answer(400, text.encode())

    with running_endpoint(echo) as endpoint:
        environ["URL"] = environ["URL"].format(endpoint.port)
        section = WebhookSettings.model_validate(
            {"url_secret": "env:URL", "bearer": "env:T", "basic_user": None}
        )
        hook = Webhook(section, "alerts[0].webhook", environ)
        outcome = hook.deliver(alert())
        hook.close()
    assert isinstance(outcome, Refused)
    assert "HTTP 400" in outcome.reason
    for secret in ("token-1", "token-2", "token-3", "Bearer"):
        assert secret not in outcome.reason
    assert hook.target == f"http://localhost:{endpoint.port}/..."


@pytest.mark.parametrize(
    ("settings", "environ", "message"),
    [
        ({"bearer": "env:NO"}, {}, "alerts[0].webhook.bearer: the variable NO"),
        ({"secret_file": "/no/such"}, {}, "secret_file: /no/such cannot be read"),
        ({"secret": "env:S"}, {"S": "whsec_!"}, "secret: secret 1 is not whsec_"),
        ({"secret": "env:S"}, {"S": "whsec_QUJD"}, "secret 1 has 3 bytes"),
        ({"bearer": "credential:x"}, {}, "LoadCredential=x"),
        ({"bearer": "env:T"}, {"T": "a\nb"}, "is not one line of printable ASCII"),
        ({"ca_file": "/no/such"}, {}, "ca_file: /no/such cannot be read"),
        ({"ca_file": __file__}, {}, "holds no certificates"),
    ],
)
def test_a_missing_secret_or_file_is_named_with_its_place(
    settings: dict[str, Any], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        webhook("http://localhost/", environ, **settings)
    assert message in str(caught.value)
    for value in environ.values():
        assert value not in str(caught.value)
