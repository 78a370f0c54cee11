"""Settings of the hooks, which deliver the alerts of a rule.

Every hook has a section of its own here, a field in `AlertSettings` named as the hook,
and a file in `monitor.sinks.alerts.hooks`.
"""

import json
import re
import string
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from monitor.config.base import Settings, Text, check_url_parts

TEXT_FIELDS = (
    "id",
    "kind",
    "rule",
    "message",
    "label",
    "source",
    "event_id",
    "created",
    "start",
    "end",
    "end_reason",
    "health",
    "state",
    "detail",
)
"""Fields of a template that are text; empty if unknown."""

NUMBER_FIELDS = (
    "duration_seconds",
    "peak_score",
    "mean_score",
    "threshold",
    "hits",
    "windows",
    "level_dbfs",
    "laeq_db",
    "count",
    "escalation",
    "json",
)
"""Fields that are numbers, true, false or null; `json` is the whole alert."""


class FieldTemplate(string.Template):
    """Text in which `$field` or `${field}` stands for a fact, and `$$` for a dollar.

    There is nothing else: no attributes, no expressions, no code.
    """

    idpattern = "[a-z_]+"
    flags = re.ASCII


def is_json(content_type: str) -> bool:
    """Return True if bodies of this content type are JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _is_reference(value: Any) -> Any:
    # The message does not contain the value, which may be the secret itself.
    if isinstance(value, str) and re.fullmatch(
        r"file:.*\S.*|(env|credential):[A-Za-z0-9_.-]+", value
    ):
        return value
    raise PydanticCustomError(
        "secret",
        "must say where the secret is stored: file:PATH, env:NAME or credential:NAME "
        "(of systemd); the secret itself does not belong here",
    )


def check_url(url: str) -> str:
    """Return `url` if alerts can be posted to it.

    Raises:
        ValueError: It has another form or scheme, or contains a user.  The message does
            not contain the URL.
    """
    check_url_parts(url, ("https", "http"), "use basic_user and basic_password")
    return url


def _is_header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError(f"{name!r} is not the name of an HTTP header")
    if name.lower() in _OWN_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError(f"the monitor sets the header {name!r} itself")
    return name


def _is_header_value(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]*", value):
        raise ValueError("must be printable ASCII")
    return value


_OWN_HEADERS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection"}
)

Reference = Annotated[str, BeforeValidator(_is_reference)]
"""The place of a secret; never the secret itself."""

Url = Annotated[Text, AfterValidator(check_url)]
HeaderName = Annotated[str, AfterValidator(_is_header_name)]
HeaderValue = Annotated[str, AfterValidator(_is_header_value)]
TotalSeconds = Annotated[float, Field(ge=0.1, le=600)]


class WebhookSettings(Settings):
    """POST alerts as JSON to a URL."""

    url: Url | None = None
    """http:// or https:// URL."""

    url_secret: Reference | None = None
    """The URL as a secret, if its path or query is one; instead of url."""

    secret_file: Text | None = None
    """File with signing secrets (whsec_...); several of them during a rotation."""

    secret: Reference | None = None
    """The same from env:NAME, credential:NAME or file:PATH."""

    bearer: Reference | None = None
    """Token for the Authorization header."""

    basic_user: Text | None = None
    """User for basic authentication, instead of bearer."""

    basic_password: Reference | None = None
    """Password of basic_user."""

    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Additional headers."""

    secret_headers: dict[HeaderName, Reference] = Field(default_factory=dict)
    """Additional headers whose values are secrets."""

    body: Text | None = None
    """Template of the body with fields such as $label; null: the whole alert as JSON.
    """

    content_type: HeaderValue = "application/json"
    """Content type of the body; for JSON, field values are escaped."""

    ca_file: Text | None = None
    """PEM file with the certificate authorities to trust, instead of the system's."""

    accept_redirect: bool = False
    """An answer of 301, 302 or 303 counts as a delivery, wherever it leads: some
    services answer so once they have accepted a POST.
    """

    connect_seconds: TotalSeconds = 5.0
    """Time limit for the connection."""

    total_seconds: TotalSeconds = 20.0
    """Time limit for a delivery, from the connection to the end of the response."""

    response_kib: Annotated[int, Field(ge=1, le=10_240)] = 64
    """At most this much of a response is read, in KiB."""

    @field_validator("headers")
    @classmethod
    def _no_secrets_in_plain_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in ("authorization", "proxy-authorization", "cookie"):
                raise PydanticCustomError(
                    "secret",
                    "the header {name} is a secret; use bearer, basic_user or "
                    "secret_headers",
                    {"name": name},
                )
        return headers

    @model_validator(mode="after")
    def _one_url(self) -> "WebhookSettings":
        if (self.url is None) == (self.url_secret is None):
            raise ValueError("needs url or url_secret, and not both")
        return self

    @model_validator(mode="after")
    def _one_authorisation(self) -> "WebhookSettings":
        if (self.basic_user is None) != (self.basic_password is None):
            raise ValueError("basic_user and basic_password need each other")
        if self.bearer is not None and self.basic_user is not None:
            raise ValueError("bearer and basic_user exclude each other")
        return self

    @model_validator(mode="after")
    def _template_is_valid(self) -> "WebhookSettings":
        if self.body is not None:
            check_template(self.body, self.content_type)
        return self


class CommandSettings(Settings):
    """Run a program with each alert on stdin; a list of arguments, or a section.

    The facts of the alert are in SOUND_MONITOR_* variables too.
    """

    argv: Annotated[tuple[Text, ...], Field(strict=False)]
    """The program and its arguments; no shell is involved."""

    total_seconds: TotalSeconds = 30.0
    """Time limit; then the program and everything it started is killed."""

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_its_argv(cls, section: Any) -> Any:
        if isinstance(section, str):
            raise ValueError(
                "must be a list, the program and its arguments: as [ls, -l]"
            )
        return {"argv": section} if isinstance(section, list) else section

    @field_validator("argv")
    @classmethod
    def _names_a_program(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv:
            raise ValueError("must name a program")
        return argv


def check_template(text: str, content_type: str) -> None:
    """Check the template of a body.

    Raises:
        ValueError: It has an unknown field or a stray dollar sign, or does not produce
            JSON although the content type is JSON.
    """
    known = (*TEXT_FIELDS, *NUMBER_FIELDS)
    for found in FieldTemplate.pattern.finditer(text):
        if found["invalid"] is not None:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(
                f"body: a $ without a field after it in line {line}; write $$ for a "
                "dollar"
            )
        name = found["named"] or found["braced"]
        if name is not None and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean ${near[0]}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"body: there is no field ${name}; {hint}")
    if is_json(content_type):
        sample = dict.fromkeys(TEXT_FIELDS, "x") | dict.fromkeys(NUMBER_FIELDS, "1")
        try:
            json.loads(FieldTemplate(text).substitute(sample))
        except ValueError as error:
            raise ValueError(f"body: does not give JSON: {error}") from None
