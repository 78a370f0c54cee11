"""Signing in and out, and the choice of the language."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.web.context import WebContext
from monitor.web.passwords import Passwords
from monitor.web.rendering import LANGUAGE_COOKIE, LANGUAGES, render
from monitor.web.security import form_of, guard_of
from monitor.web.session import ABSOLUTE_SECONDS, COOKIE

LANGUAGE_SECONDS = 365 * 24 * 3600


def routes(context: WebContext) -> list[Route]:
    """Return the routes."""
    del context
    return [
        Route("/login", show_login),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
        Route("/language", choose_language, methods=["POST"]),
    ]


async def show_login(request: Request) -> Response:
    """Ask for the password."""
    return _login(request, request.query_params.get("next", ""))


async def log_in(request: Request) -> Response:
    """Check a password, unless too many were tried."""
    form, guard = form_of(request), guard_of(request)
    target = form.get("next", "")
    address = request.client.host if request.client else ""
    if wait := guard.throttle.attempt(address):
        response = _login(request, target, "wait", 429)
        response.headers["retry-after"] = str(round(wait) + 1)
        return response
    # One at a time: each takes 8 MiB and a core.
    async with guard.hashing:
        passwords = guard.passwords or Passwords({})
        role = await run_in_threadpool(passwords.role_of, form.get("password", ""))
    # They may have changed meanwhile: every session has ended then.
    if role is None or guard.passwords is not passwords:
        return _login(request, target, "wrong", 403)
    guard.throttle.succeeded(address, role)
    guard.sessions.end(request.state.session)
    response = _back(request, target)
    response.set_cookie(
        COOKIE,
        guard.sessions.begin(role),
        max_age=int(ABSOLUTE_SECONDS),
        path=_cookie_path(request),
        httponly=True,
        samesite="strict",
        secure=request.state.is_secure,
    )
    return response


async def log_out(request: Request) -> Response:
    """End the session."""
    guard_of(request).sessions.end(request.state.session)
    response = _back(request, "/login")
    response.delete_cookie(COOKIE, path=_cookie_path(request))
    return response


async def choose_language(request: Request) -> Response:
    """Remember the language in a cookie, and go back."""
    form = form_of(request)
    response = _back(request, form.get("next", ""))
    if (language := form.get("language")) in LANGUAGES:
        response.set_cookie(
            LANGUAGE_COOKIE,
            str(language),
            max_age=LANGUAGE_SECONDS,
            path=_cookie_path(request),
            httponly=True,
            samesite="strict",
            secure=request.state.is_secure,
        )
    return response


def _login(
    request: Request, target: str, problem: str = "", status_code: int = 200
) -> Response:
    return render(
        request,
        "login.html",
        page="login",
        status_code=status_code,
        target=target,
        problem=problem,
    )


def _back(request: Request, target: str) -> Response:
    """Redirect to a path of this server; anything else leads to the first page."""
    # Without the checks of a host, which raise on some: there is none.
    path, _, query = target.partition("#")[0].partition("?")
    if not path.startswith("/") or path.startswith(("//", "/\\")):
        path, query = "/", ""
    query = f"?{query}" if query else ""
    return RedirectResponse(f"{request.scope.get('root_path', '')}{path}{query}", 303)


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
