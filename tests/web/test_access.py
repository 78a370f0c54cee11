"""Only this machine sees a page without a password; passwords hold as they are now."""

import asyncio
from pathlib import Path

import httpx
import pytest

from monitor.web.app import build_app
from monitor.web.passwords import PasswordFiles
from monitor.web.session import TRIES
from tests.support.web import (
    PASSWORD,
    WebClient,
    make_config,
    make_context,
    set_passwords,
)

PROXY = make_config(trusted_proxy="127.0.0.1")


def locked_client(folder: Path) -> WebClient:
    """A browser of a page with passwords, behind a proxy that is trusted."""
    context = make_context(folder, config=PROXY)
    set_passwords(context)
    return WebClient(build_app(context))


def test_behind_a_proxy_a_page_without_a_password_is_closed(tmp_path: Path) -> None:
    client = WebClient(build_app(make_context(tmp_path, config=PROXY)))
    for headers in ({}, {"x-forwarded-for": "203.0.113.9"}):
        assert client.get("/system", headers=headers).status_code == 503
    assert client.post("/api/command/reload", json={}).status_code == 403


def test_a_proxy_that_asks_itself_is_answered_and_nobody_else(tmp_path: Path) -> None:
    web = {"trusted_proxy": "127.0.0.1", "proxy_signs_in": True}
    context = make_context(tmp_path, config=make_config(listen="0.0.0.0:8480", **web))
    app = build_app(context)
    home = "https://home.example.org:8123"
    headers = {"x-forwarded-for": "203.0.113.9", "x-ingress-path": "/ingress"}
    client = WebClient(app, home)
    assert client.get("/system", headers=headers).status_code == 200
    command = client.post("/api/command/reload", json={}, headers=headers)
    assert command.status_code == 409  # admitted; there is no monitor to do it
    foreign = headers | {"origin": "https://evil.example.org"}
    refused = client.post("/api/command/reload", json={}, headers=foreign)
    assert refused.status_code == 403
    other = WebClient(app, home, client="172.30.33.7")
    for path in ("/system", "/static/style.css", "/live"):
        assert other.get(path, headers=headers).status_code == 403
    set_passwords(context)
    assert client.get("/system", headers=headers).status_code == 303


@pytest.mark.parametrize(
    "header",
    [
        *(f"X-Forwarded-{each}" for each in ("For", "Host", "Proto", "Prefix")),
        *("Forwarded", "Via", "X-Real-IP", "X-Ingress-Path", "X-Original-URL"),
        *("CF-Connecting-IP", "True-Client-IP", "X-Envoy-External-Address"),
    ],
)
def test_a_proxy_that_nobody_named_leads_nobody_to_it(
    tmp_path: Path, header: str
) -> None:
    client = WebClient(build_app(make_context(tmp_path)))
    answer = client.get("/system", headers={header: "for=203.0.113.9"})
    assert (answer.status_code, "proxy" in answer.text) == (403, True)
    assert client.get("/system").status_code == 200


@pytest.mark.parametrize("way", ["removed", "renamed", "led nowhere"])
def test_a_page_that_had_a_password_never_opens_without_one(
    tmp_path: Path, way: str
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    context = make_context(folder)
    set_passwords(context)
    client = WebClient(build_app(context))
    assert client.get("/system").status_code == 303
    if way == "renamed":
        folder.rename(tmp_path / "elsewhere")
    for path in context.password_files.values() if way != "renamed" else ():
        path.unlink()
        if way == "led nowhere":
            path.symlink_to(tmp_path / "nothing")
    expected = 303 if way == "led nowhere" else 503
    assert client.get("/system").status_code == expected
    assert client.post("/api/command/reload", json={}).status_code in (401, 403)
    folder.mkdir(exist_ok=True)
    for path in context.password_files.values():
        path.unlink(missing_ok=True)
    set_passwords(context)
    assert client.get("/system").status_code == 303
    assert client.log_in(PASSWORD).status_code == 303
    assert client.get("/system").status_code == 200


def test_a_page_opened_without_a_password_stays_locked_until_it_starts_again(
    tmp_path: Path,
) -> None:
    context = make_context(tmp_path)
    client = WebClient(build_app(context))
    assert client.get("/system").status_code == 200
    set_passwords(context)
    assert client.get("/system").status_code == 303
    for path in context.password_files.values():
        path.unlink()
    assert client.get("/system").status_code == 503
    again = WebClient(build_app(context))
    assert again.get("/system").status_code == 200


def test_a_password_that_changes_while_it_is_hashed_opens_nothing(
    tmp_path: Path,
) -> None:
    context = make_context(tmp_path)
    set_passwords(context)
    app = build_app(context)
    client = WebClient(app)
    headers = {"origin": client.origin, "x-token": client.token()}
    other = tmp_path / "other"
    PasswordFiles({"owner": other}).write("owner", "another password")

    async def change_meanwhile() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url=client.origin
        ) as browser:
            data = {"password": PASSWORD}
            signing_in = asyncio.create_task(
                browser.post("/login", data=data, headers=headers)
            )
            while not app.guard.hashing.locked():
                await asyncio.sleep(0)
            other.replace(context.password_files["owner"])
            await browser.get("/login")
            answer = await signing_in
            assert (await browser.get("/system")).status_code == 303
        return answer

    assert asyncio.run(change_meanwhile()).status_code == 403
    assert client.log_in("another password").status_code == 303


def test_a_visitor_cannot_choose_the_address_that_the_throttle_counts(
    tmp_path: Path,
) -> None:
    client = locked_client(tmp_path)
    answers = []
    for number in range(TRIES + 1):
        # What the visitor sent, then the line of the proxy.
        lines = [f"198.51.{number}.7, 192.0.2.{number}", "203.0.113.9"]
        headers = [("origin", client.origin), ("x-token", client.token())]
        headers += [("x-forwarded-for", line) for line in lines]
        data = {"password": "wrong"}
        answers.append(client.request("POST", "/login", data=data, headers=headers))
    assert [each.status_code for each in answers] == [403] * TRIES + [429]


def test_a_visitor_cannot_choose_the_prefix_and_the_scheme_of_the_proxy(
    tmp_path: Path,
) -> None:
    client = locked_client(tmp_path)
    headers = [
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-prefix", "/monitor"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-proto", "http"),
        ("origin", client.origin),
        ("x-token", client.token()),
    ]
    data = {"password": PASSWORD}
    answer = client.request("POST", "/login", data=data, headers=headers)
    assert answer.headers["location"] == "/monitor/"
    assert "secure" not in answer.headers["set-cookie"].lower()
