"""The base class of all settings, and types of values that several sections use."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from unicodedata import category
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


def _is_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text):
        raise ValueError(
            "must begin with a letter or digit and have at most 63 letters, digits "
            "and _ . -"
        )
    return text


def _is_text(text: str) -> str:
    if not text:
        raise ValueError("must be text, not empty")
    # Templates may have several lines.  Other control characters and lone surrogates
    # do not belong in the name of a file, a host or a topic.
    if any(
        category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in text
    ):
        raise ValueError(
            "must not contain control characters or bytes that are not UTF-8"
        )
    return text


def check_host(host: str) -> str:
    """Return `host` if the resolver can look it up.

    Raises:
        ValueError: A part of it is empty or too long.  The resolver would raise
            UnicodeError, which no caller expects.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("the host has a part that is empty or too long") from None
    return host


def check_url_parts(
    url: str,
    schemes: Sequence[str],
    advice: str = "write username and password in a configuration",
) -> SplitResult:
    """Return the parts of `url` if it has one of `schemes` and a host.

    Raises:
        ValueError: It has another form, or contains a user, for which `advice`
            says what to do.  The message does not contain the URL.
    """
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("must not contain spaces or control characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in schemes:
        *others, last = (f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must begin with {', '.join(others)} or {last}")
    if "@" in parts.netloc:
        raise PydanticCustomError(
            "secret",
            "must not contain a user or a password; {advice}",
            {"advice": advice},
        )
    if not host:
        raise ValueError("has no host")
    if port == 0:
        raise ValueError("has the port 0, which no server has")
    check_host(host)
    return parts


def broker_target(scheme: str, host: str, port: int) -> str:
    """Return the URL of a broker, for logs and clients."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


Score = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Name = Annotated[str, AfterValidator(_is_name)]
Text = Annotated[str, AfterValidator(_is_text)]
Host = Annotated[Text, AfterValidator(check_host)]


class Settings(BaseModel):
    """A frozen section of the configuration; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_means_empty(cls, section: Any) -> Any:
        """An empty section has its defaults, an empty list or table is empty."""
        if not isinstance(section, Mapping):
            return {} if section is None else section
        return {
            key: value
            for key, value in section.items()
            if value is not None or not _is_empty_by_default(cls, key)
        }


def _is_empty_by_default(kind: type[BaseModel], key: str) -> bool:
    field = kind.model_fields.get(key)
    return field is not None and field.get_default(call_default_factory=True) in (
        (),
        {},
    )
