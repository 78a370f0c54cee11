"""From the text of a configuration file to settings, or to sentences about faults.

Every fault is one sentence with file, line, key, value and rule.
"""

import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.config.overrides import Overrides
from monitor.config.strict_yaml import KeyPath, YamlDocument, key_text, read_yaml
from monitor.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound=Settings)

_RULES = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "model_type": "must be a section with keys and values",
    "model_attributes_type": "must be a section with keys and values",
    "dict_type": "must be a section with keys and values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "value_error": "{error}",
}

_VALUE_HIDDEN = "secret"
"""Type of a fault whose value may be a secret and is therefore not shown."""

_MOST_SENTENCES = 50
"""Further faults are only counted."""

_USER_PART = re.compile(r"(?<=//)[^/@\s]*@")


def parse_config(text: str, origin: str) -> Config:
    """Read the text of a configuration file.

    Args:
        text: YAML; an empty text gives the defaults.
        origin: The file's name, for messages.

    Raises:
        ConfigError: One sentence in a line for each fault, with file, line, key,
            value and rule.
    """
    return parse_settings(Config, text, origin)


def parse_settings(kind: type[SettingsT], text: str, origin: str) -> SettingsT:
    """Read the text of a file of other settings, as `parse_config` does."""
    document = read_yaml(text, origin)
    return _validate(kind, document.data, document, origin, ())


def parse_overrides(text: str, origin: str) -> tuple[Overrides, list[str]]:
    """Read the text of overrides.

    Returns:
        Those that are valid, and the faults of the others, a sentence each.
    """
    try:
        return parse_settings(Overrides, text, origin), []
    except ConfigError as error:
        faults = str(error).splitlines()
    try:
        detection = read_yaml(text, origin).data.get("detection")
    except ConfigError:
        detection = None
    settings = detection if isinstance(detection, dict) else {}
    labels = settings.get("labels")
    pieces: list[dict[str, Any]] = [{"sensitivity": settings.get("sensitivity")}]
    if isinstance(labels, dict):
        pieces += [{"labels": {label: own}} for label, own in labels.items()]
    valid = Overrides()
    for piece in pieces:
        with suppress(ConfigError):
            found = check_settings(Overrides, {"detection": piece}, origin)
            for label, value in found.each:
                valid = valid.with_sensitivity(label, value)
    return valid, faults


def check_settings(
    kind: type[SettingsT], data: Mapping[str, Any], origin: str, *section: str
) -> SettingsT:
    """Build settings from values that do not come from a file.

    Args:
        kind: The settings.
        data: Their values, as nested dictionaries.
        origin: Name of the option or the file, for messages.
        section: Key path of the section, for messages.

    Raises:
        ConfigError: As `parse_config`, without line numbers.
    """
    return _validate(kind, dict(data), YamlDocument({}, {}), origin, section)


def _validate(
    kind: type[SettingsT],
    data: dict[str, Any],
    document: YamlDocument,
    origin: str,
    prefix: KeyPath,
) -> SettingsT:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        sentences = []
        faults = error.errors(include_url=False)
        for fault in faults[:_MOST_SENTENCES]:
            line = document.line(prefix + fault["loc"])
            place = origin if line is None else f"{origin}:{line}"
            sentences.append(f"{place}: {_fault_sentence(kind, fault, prefix)}")
        if len(faults) > _MOST_SENTENCES:
            more = len(faults) - _MOST_SENTENCES
            sentences.append(f"{origin}: {more} more faults")
        raise ConfigError("\n".join(sentences)) from None


def _fault_sentence(kind: type[BaseModel], fault: ErrorDetails, prefix: KeyPath) -> str:
    path = prefix + fault["loc"]
    if fault["type"] == "missing":
        places = [key_text(path[:-1])] if path[:-1] else []
        return ": ".join([*places, f"{path[-1]} is missing"])
    if path == ("training",):
        return (
            "training: training has a settings file of its own; move the section to "
            "the top level of a file for `sound-monitor train --settings FILE`"
        )
    if fault["type"] == "extra_forbidden":
        known = _keys_beside(kind, fault["loc"])
        advice = _nearest(path, known)
        if sections := [
            name
            for name, field in kind.model_fields.items()
            if len(path) == 1
            and (section := _section_in(field.annotation))
            and path[0] in section.model_fields
        ]:
            key = "that key" if len(sections) == 1 else "one of them"
            advice = f"it belongs to {' or '.join(sections)}: indent it below {key}"
        return f"{key_text(path)}: there is no such setting; {advice}"
    return ": ".join(part for part in (key_text(path), _complaint(fault)) if part)


def _complaint(fault: ErrorDetails) -> str:
    rule = _RULES.get(fault["type"], "").format(**fault.get("ctx", {}))
    rule = rule or fault["msg"][:1].lower() + fault["msg"][1:]
    if fault["type"] == _VALUE_HIDDEN:
        return rule
    value, kind = fault["input"], fault["type"]
    # A rule about a whole section names the keys and values itself.
    if isinstance(value, list | dict | None) and kind == "value_error":
        return rule
    if value is None:
        return f"has no value; it {rule}"
    if kind == "tuple_type":
        is_section = isinstance(value, dict)
        rule += (
            "; begin each of its entries with '- '"
            if is_section
            else "; write it as [A, B], or an entry a line, each after '- '"
        )
    if isinstance(value, list) and "section" in rule:
        rule += ", which do not begin with '- '"
    return f"{value_text(value)} {rule}"


def value_text(value: object) -> str:
    """A value as the configuration file writes it, shortened to one phrase."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = _USER_PART.sub("***@", repr(value))
    return text if len(text) <= 80 else f"{text[:60]}..."


def _nearest(path: KeyPath, known: list[str]) -> str:
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.65)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose from {', '.join(known)}"


def _keys_beside(kind: type[BaseModel], path: KeyPath) -> list[str]:
    """Names of the settings in the section that holds the last key of `path`."""
    section: type[BaseModel] = kind
    for part in path[:-1]:
        field = section.model_fields.get(str(part))
        # A number or a label's name stands for one entry of the section reached.
        if field is not None and (inner := _section_in(field.annotation)):
            section = inner
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section_in(argument) for argument in get_args(annotation))
    return next((kind for kind in found if kind is not None), None)
