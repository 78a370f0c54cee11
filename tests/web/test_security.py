"""Only who may sees the page, and only the page itself changes anything."""

from pathlib import Path
from typing import Any

import pytest

from monitor.web.app import build_app
from monitor.web.security import MAX_BODY_BYTES
from monitor.web.session import COOKIE, TRIES
from tests.support.web import (
    PASSWORD,
    VIEWER_PASSWORD,
    WebClient,
    make_config,
    make_context,
    set_passwords,
)

COMMAND = "/api/command/reload"
PROXY = "192.0.2.1"


def make_client(folder: Path, **web: Any) -> WebClient:
    return WebClient(build_app(make_context(folder, config=make_config(**web))))


@pytest.fixture
def client(tmp_path: Path) -> WebClient:
    """A browser of a page without passwords."""
    return make_client(tmp_path)


@pytest.fixture
def locked(tmp_path: Path) -> WebClient:
    """A browser of a page with passwords, which has not signed in."""
    set_passwords(make_context(tmp_path))
    return make_client(tmp_path)


def status_of_command(client: WebClient, **more: Any) -> int:
    return client.post(COMMAND, json={}, **more).status_code


def test_without_a_password_this_machine_sees_and_changes(client: WebClient) -> None:
    assert client.get("/system").status_code == 200
    assert status_of_command(client) == 409  # no monitor does it


def test_the_opener_policy_goes_where_a_browser_heeds_it(client: WebClient) -> None:
    name = "cross-origin-opener-policy"
    trusted = client.get("/", headers={"sec-fetch-site": "none"})
    assert trusted.headers[name] == "same-origin"
    assert name not in client.get("/").headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8480", 200),
        ("[::1]:8480", 200),
        ("localhost", 200),
        ("monitor.example.org", 200),
        ("attacker.example.org:8480", 400),
        ("127.0.0.1.example.org", 400),
        ("", 400),
        ("[", 400),
        ("LOCALHOST:8480 ", 200),
        ("x@localhost", 400),
        ("localhost/evil", 400),
        ("localhost:abc", 400),
        ("[::1", 400),
    ],
)
def test_a_foreign_name_that_leads_here_is_refused(
    tmp_path: Path, host: str, status: int
) -> None:
    client = make_client(tmp_path, hosts=("monitor.example.org",))
    assert client.get("/system", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    "origin", ["http://attacker.example.org", "null", "", "http://[", "http://x]y"]
)
def test_a_change_from_a_foreign_page_is_refused(
    client: WebClient, origin: str
) -> None:
    assert status_of_command(client, headers={"origin": origin}) == 403


def test_a_refusal_is_in_the_language_of_the_viewer(locked: WebClient) -> None:
    refused = locked.get("/live", headers={"accept-language": "de"})
    assert (refused.status_code, refused.text) == (401, "Melden Sie sich zuerst an.")
    assert locked.get("/live").text == "Sign in first."


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_can_only_lead_here(client: WebClient, site: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert client.get("/system", headers=headers).status_code == 403
    assert client.get("/static/style.css", headers=headers).status_code == 403
    leads = headers | {"sec-fetch-mode": "navigate"}
    assert client.get("/system", headers=leads).status_code == 200
    for heavy in ("curves", "replay?value=1", "proposal?label=siren"):
        answer = client.get(f"/thresholds/{heavy}", headers=leads)
        assert answer.status_code == 403
    own = headers | {"sec-fetch-site": "same-origin"}
    assert client.get("/system", headers=own).status_code == 200


@pytest.mark.parametrize("origin", ["http://attacker.example.org", "null", "http://["])
def test_a_foreign_origin_gets_nothing_from_a_browser_that_says_no_more(
    client: WebClient, origin: str
) -> None:
    for path in ("/live", "/thresholds/curves", "/static/style.css"):
        answer = client.request("HEAD", path, headers={"origin": origin})
        assert answer.status_code == 403
    own = client.get("/static/style.css", headers={"origin": client.origin})
    assert own.status_code == 200


def test_no_foreign_page_leads_a_browser_to_the_live_feed(client: WebClient) -> None:
    leads = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.request("HEAD", "/live", headers=leads).status_code == 403
    typed = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
    assert client.request("HEAD", "/live", headers=typed).status_code == 200


@pytest.mark.parametrize("proxy", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_listener_of_both_versions_knows_its_proxy(
    tmp_path: Path, proxy: str
) -> None:
    context = make_context(tmp_path, config=make_config(trusted_proxy=proxy))
    set_passwords(context)
    asked = WebClient(build_app(context), client="::ffff:127.0.0.1")
    page = asked.get("/login", headers={"x-ingress-path": "/elsewhere"}).text
    assert "/elsewhere/" in page


def test_what_cannot_be_read_is_answered_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = build_app(make_context(tmp_path))
    app.guard.sessions = None
    answers = [WebClient(app).get("/system") for _ in range(3)]
    assert {each.status_code for each in answers} == {500}
    assert answers[0].headers["x-frame-options"] == "DENY"
    assert caplog.text.count("a request could not be read") == 1


@pytest.mark.parametrize("token", ["", "guess", "ü"])
def test_a_change_without_the_token_is_refused(client: WebClient, token: str) -> None:
    headers = {"x-token": token.encode()}
    assert status_of_command(client, headers=headers) == 403


def test_a_body_that_is_too_long_is_refused(client: WebClient) -> None:
    response = client.post(COMMAND, content=b"x" * (MAX_BODY_BYTES + 1))
    assert response.status_code == 413


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 10_000])
def test_arguments_that_are_no_object_are_refused(
    client: WebClient, body: bytes
) -> None:
    assert client.post(COMMAND, content=body).status_code == 400


def test_each_path_has_its_methods(client: WebClient) -> None:
    assert client.get(COMMAND).status_code == 405
    assert client.request("PUT", "/system").status_code == 405
    assert client.request("HEAD", "/live").status_code == 200


@pytest.mark.parametrize("path", ["/", "/system", "/nothing"])
def test_who_has_not_signed_in_is_led_to_the_form(locked: WebClient, path: str) -> None:
    response = locked.get(path)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/login?next=")
    assert "/system" not in locked.get("/login").text


def test_after_signing_in_the_chosen_events_are_shown(locked: WebClient) -> None:
    location = locked.get("/events?label=dog&source=a b").headers["location"]
    assert location == "/login?next=/events%3Flabel%3Ddog%26source%3Da%2520b"
    assert 'value="/events?label=dog&amp;source=a%20b"' in locked.get(location).text


def test_cookies_of_other_pages_of_the_host_do_no_harm(locked: WebClient) -> None:
    locked.log_in(PASSWORD)
    cookie = f'a={{"b": [1]}}; c; {COOKIE}={locked.cookies[COOKIE]}; \u00e9="'
    locked.cookies.clear()
    headers = {"cookie": cookie.encode()}
    assert locked.get("/system", headers=headers).status_code == 200


def test_files_of_the_page_are_kept_and_checked_and_pages_are_not_kept(
    client: WebClient,
) -> None:
    assert client.get("/system").headers["cache-control"] == "no-store"
    style = client.get("/static/style.css")
    assert style.headers["content-encoding"] == "gzip"
    assert style.headers["cache-control"] == "no-cache"
    known = {"if-none-match": style.headers["etag"]}
    assert client.get("/static/style.css", headers=known).status_code == 304


@pytest.mark.parametrize("path", ["/live", "/api/command/reload"])
def test_who_has_not_signed_in_gets_no_data(locked: WebClient, path: str) -> None:
    assert locked.get(path).status_code == 401
    assert status_of_command(locked) == 401


def test_a_password_opens_the_page_until_the_owner_leaves(locked: WebClient) -> None:
    response = locked.log_in(PASSWORD)
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert locked.get("/system").status_code == 200
    assert status_of_command(locked) == 409
    assert locked.post("/logout").status_code == 303
    assert locked.get("/system").status_code == 303


def test_an_ended_session_stays_ended(locked: WebClient) -> None:
    locked.log_in(PASSWORD)
    stolen = locked.cookies[COOKIE]
    locked.post("/logout")
    locked.cookies.set(COOKIE, stolen)
    assert locked.get("/system").status_code == 303


def test_a_viewer_looks_and_changes_nothing(locked: WebClient) -> None:
    locked.log_in(VIEWER_PASSWORD)
    assert locked.get("/system").status_code == 200
    assert status_of_command(locked) == 403
    assert locked.post("/logout").status_code == 303


def test_a_token_is_of_one_session(locked: WebClient) -> None:
    foreign = locked.token()
    locked.log_in(PASSWORD)
    assert locked.token() != foreign
    assert status_of_command(locked, headers={"x-token": foreign}) == 403


def test_a_new_password_ends_every_session(locked: WebClient, tmp_path: Path) -> None:
    locked.log_in(PASSWORD)
    set_passwords(make_context(tmp_path))
    assert locked.get("/system").status_code == 303


@pytest.mark.parametrize("content", [None, "nonsense", "scrypt$$"])
def test_a_page_for_others_is_closed_when_its_passwords_are_gone(
    tmp_path: Path, content: str | None
) -> None:
    context = make_context(tmp_path, config=make_config(listen="0.0.0.0:8480"))
    set_passwords(context)
    client = WebClient(build_app(context))
    client.log_in(PASSWORD)
    assert client.get("/system").status_code == 200
    for path in context.password_files.values():
        path.unlink()
        if content is not None:
            path.write_text(content)
    assert client.get("/system").status_code == (503 if content is None else 303)
    assert client.log_in(PASSWORD).status_code == 403


def test_passwords_are_not_tried_for_long(locked: WebClient) -> None:
    tried = [locked.log_in("wrong").status_code for _ in range(TRIES + 1)]
    assert tried == [403] * TRIES + [429]
    response = locked.log_in(PASSWORD)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/events?label=a", "/events?label=a"),
        ("https://attacker.example.org/", "/"),
        ("//attacker.example.org/", "/"),
        ("/\\attacker.example.org/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\r\nset-cookie: a=b", "/%0D%0Aset-cookie:%20a=b"),
        ("http://[", "/"),
        ("/a?b#c", "/a?b"),
    ],
)
def test_after_signing_in_only_this_server_follows(
    locked: WebClient, target: str, place: str
) -> None:
    response = locked.post("/login", data={"password": PASSWORD, "next": target})
    assert response.headers["location"] == place


def test_a_trusted_proxy_says_who_asks_and_where_the_page_is(tmp_path: Path) -> None:
    set_passwords(make_context(tmp_path))
    forwarded = {
        "x-forwarded-proto": "https",
        "x-ingress-path": "/ingress/a b",
        "host": "127.0.0.1",
        "origin": "https://127.0.0.1",
    }
    client = make_client(tmp_path, trusted_proxy="127.0.0.1")
    response = client.log_in(PASSWORD, headers=forwarded)
    assert response.headers["location"] == "/ingress/a%20b/"
    cookie = response.headers["set-cookie"].lower()
    assert "; secure" in cookie
    assert "path=/ingress/a%20b" in cookie
    page = client.get("/login", headers=forwarded).text
    assert 'href="/ingress/a%20b/static/style.css"' in page
    style = client.get("/static/style.css", headers=forwarded)
    assert style.headers["content-type"].startswith("text/css")


def test_others_are_no_proxy(tmp_path: Path) -> None:
    client = make_client(tmp_path, trusted_proxy=PROXY)
    page = client.get("/system", headers={"x-ingress-path": "/elsewhere"}).text
    assert "elsewhere" not in page


@pytest.mark.parametrize("path", ["/system", "/nothing", "/static/style.css", "/live%"])
def test_every_answer_says_what_it_may_do(client: WebClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_a_page_of_the_configuration_may_show_it_in_a_frame(tmp_path: Path) -> None:
    ancestors = ("self", "https://home.example.org:8123")
    headers = make_client(tmp_path, frame_ancestors=ancestors).get("/system").headers
    assert headers["content-security-policy"].endswith(
        "frame-ancestors 'self' https://home.example.org:8123"
    )
    assert "x-frame-options" not in headers
