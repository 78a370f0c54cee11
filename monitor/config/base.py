"""What the sections of the configuration share: their base, and kinds of values."""

import re
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
    # Templates and programs may have several lines; what else moves a cursor, and half
    # a character, have no place in a name of a file, a host or a topic.
    if any(
        category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in text
    ):
        raise ValueError("must not contain control characters")
    return text


def check_host(host: str) -> str:
    """Give back `host` if it can be looked for.

    Raises:
        ValueError: A part of it is empty or too long, so that looking for it would fail
            as nothing else does.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("the host has an empty or too long part") from None
    return host


Score = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Name = Annotated[str, AfterValidator(_is_name)]
Text = Annotated[str, AfterValidator(_is_text)]
Host = Annotated[Text, AfterValidator(check_host)]


class Settings(BaseModel):
    """A frozen section of the configuration; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _an_empty_section_has_its_defaults(cls, section: Any) -> Any:
        return {} if section is None else section
