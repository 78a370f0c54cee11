"""The base class of all settings, and types of values that several sections use."""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


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
