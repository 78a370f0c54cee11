"""Rendering: pages from templates, and their text in the language of the viewer."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import yaml
from markupsafe import Markup, escape
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor.memory import trim_heap
from monitor.text import duration, percent

FOLDER = Path(str(files("monitor"))) / "web"
"""Templates, static files and strings, beside the modules."""

LANGUAGES = ("en", "de")
LANGUAGE_COOKIE = "language"

Navigation = Sequence[tuple[str, str]]

NAVIGATION: Navigation = (
    ("now", "/"),
    ("events", "/events"),
    ("day", "/day"),
    ("diary", "/diary"),
    ("thresholds", "/thresholds"),
    ("alerts", "/alerts"),
    ("system", "/system"),
)
"""Name and path of each page of a monitor, in the order of the navigation."""

PAGES_IN_THE_BAR = 4
"""On a phone the others are behind "More"."""

Translate = Callable[..., str]
"""Text of a key and its values: `t(key, count=3)`."""


@cache
def strings(language: str) -> Mapping[str, Any]:
    """Return the text of a language by its keys: "events.title" and so on.

    A text is a string, or a mapping with `one` and `other`, chosen by `count`.
    """
    text = (FOLDER / "strings" / f"{language}.yaml").read_text(encoding="utf-8")
    return dict(_flat(yaml.safe_load(text)))


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and set(value) != {"one", "other"}:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@cache
def strings_json(language: str) -> bytes:
    """Return the text of a language for scripts."""
    return json.dumps(strings(language), ensure_ascii=False).encode()


def label_text(language: str, label: str) -> str:
    """Return the name of a label in a language; unknown ones stay as they are."""
    return str(strings(language).get(f"labels.{label}", label))


def translation(language: str) -> Translate:
    """Return the function that templates know as `t`."""
    texts = strings(language)

    def translate(key: str, **values: object) -> str:
        # Of a word that a newer monitor has, the word itself.
        text = texts.get(key, key.rpartition(".")[2])
        if isinstance(text, dict):
            text = text["one" if values.get("count") == 1 else "other"]
        # Only the fields of the text itself are filled: values are never read as one.
        return str(text).format_map(values) if values else str(text)

    return translate


@cache
def _said() -> Sequence[tuple[str, re.Pattern[str]]]:
    """Return the sentences of the monitor that are known, by their keys."""
    return [
        (key, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(text))))
        for key, text in strings(LANGUAGES[0]).items()
        if key.startswith("words.said.")
    ]


def said(language: str, sentence: str) -> Markup:
    """Write a sentence of the monitor in a language; an unknown one stays English."""
    text = _translated(language, sentence)
    if text is None:
        return Markup('<span lang="en">{}</span>').format(sentence)
    return escape(text)


def _translated(language: str, sentence: str) -> str | None:
    for key, pattern in _said():
        if found := pattern.fullmatch(sentence):
            fields = found.groupdict().items()
            values = {it: _translated(language, own) or own for it, own in fields}
            return str(strings(language)[key]).format_map(values)
    return None


def language_of(request: Request) -> str:
    """Return the language that the viewer has chosen, else the set, or browser's."""
    cookie = request.cookies.get(LANGUAGE_COOKIE)
    return choose_language(cookie, request.app.state.language, request.headers)


def choose_language(
    cookie: str | None, setting: str | None, headers: Mapping[str, str]
) -> str:
    """Return the language of a cookie, else of `web.language`, else of the browser."""
    for chosen in (cookie, setting):
        if chosen in LANGUAGES:
            return chosen
    for part in headers.get("accept-language", "").split(","):
        language = part.strip()[:2].lower()
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]


def decimals(language: str, text: str) -> str:
    """Write the numbers in a text of English form as a language does."""
    return text.replace(".", str(strings(language)["common.decimal"]))


def device_zone() -> str:
    """Return the name of this machine's time zone, such as Europe/Berlin.

    Without a name, as where /etc/localtime is a plain file: its offset now, as +02:00.
    """
    chosen = os.environ.get("TZ", "").lstrip(":")
    place = chosen or os.path.realpath("/etc/localtime")
    name = place.rpartition("zoneinfo/")[2]
    try:
        return ZoneInfo(name).key
    except (ValueError, LookupError, OSError):
        offset = datetime.now().astimezone().isoformat()[-6:]
        return offset if offset != "+00:00" else "UTC"


@cache
def _environment(language: str) -> jinja2.Environment:
    def localised(write: Callable[..., str]) -> Callable[..., str]:
        return lambda *values: decimals(language, write(*values))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "decimals": partial(decimals, language),
        "duration": localised(duration_text),
        "number": localised(_number),
        "said": partial(said, language),
        "share": localised(_share),
        "size": localised(_size),
        "utc": _utc,
    }
    return environment


def duration_text(seconds: float | None) -> str:
    """Write a duration with the symbols of all languages: 4 min 30 s."""
    if seconds is None:
        return "-"
    text = re.sub(r"(\d)([dhms])", r"\1 \2", duration(seconds))
    return text.replace(" m", " min")


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None, digits: int | None = None) -> str:
    """Write a share in per cent; without digits, 100 % only if nothing is missing."""
    if value is None or digits is None:
        return percent(value)
    return f"{100 * value:.{digits}f} %"


def _size(count: int | None) -> str:
    """Write a number of bytes."""
    if count is None:
        return "-"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f} {unit}"
    return f"{count / 2**10:.0f} KiB"


def _utc(iso: str) -> str:
    """Write a time without a script: 2026-11-23 06:56:13 UTC."""
    return f"{iso[:10]} {iso[11:19]} UTC"


def render(
    request: Request,
    template: str,
    *,
    page: str,
    status_code: int = 200,
    is_large: bool = False,
    **values: Any,
) -> Response:
    """Render a page.

    Args:
        request: The request that it answers.
        template: File in `templates`.
        page: Name of the page in the navigation.
        status_code: HTTP status.
        is_large: Give memory back afterwards: many rows leave much that is free
            between blocks that stay.
        values: Values for the template, beside those of every page: `t`, `url`,
            `name_of`, `language`, `token`, `role`, `navigation`, `page`, `here`,
            `absence`.
    """
    language, root = language_of(request), request.scope.get("root_path", "")
    digest = hashlib.sha256(strings_json(language)).hexdigest()[:12]
    signed_in = getattr(request.state, "signed_in", True)
    text = (
        _environment(language)
        .get_template(template)
        .render(
            t=translation(language),
            name_of=partial(label_text, language),
            url=lambda path: f"{root}{path}",
            root=root,
            language=language,
            languages=LANGUAGES,
            strings_url=f"{root}/strings/{language}.json?{digest}",
            token=getattr(request.state, "token", ""),
            role=getattr(request.state, "role", "owner"),
            has_password=getattr(request.state, "has_password", False),
            navigation=request.app.state.navigation if signed_in else (),
            in_the_bar=PAGES_IN_THE_BAR,
            page=page,
            zone=device_zone(),
            absence=request.app.state.context.absence,
            here=request.scope["path"].removeprefix(root),
            **values,
        )
    )
    after = BackgroundTask(trim_heap) if is_large else None
    return HTMLResponse(text, status_code, background=after)
