"""Bodies of an own form: the fields of an alert in a text, escaped as it needs."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote_plus

from monitor.config.hooks import NUMBER_FIELDS, TEXT_FIELDS, FieldTemplate, is_json


def render(template: str, content_type: str, body: Mapping[str, Any]) -> str:
    """Put the facts of an alert in the places of its fields.

    Args:
        template: Checked when the configuration was read.
        content_type: In JSON, form data, HTML and XML what a field holds is escaped.
        body: Of the alert.
    """
    texts = {
        name: _escaped("" if body.get(name) is None else str(body[name]), content_type)
        for name in TEXT_FIELDS
    }
    numbers = {name: json.dumps(body.get(name)) for name in NUMBER_FIELDS}
    whole = json.dumps(dict(body))
    numbers["json"] = whole if is_json(content_type) else _escaped(whole, content_type)
    return FieldTemplate(template).substitute(texts | numbers)


def facts(body: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an alert but `json` as plain text; empty where unknown."""
    plain = {}
    for name in (*TEXT_FIELDS, *NUMBER_FIELDS):
        value = body.get(name)
        if name != "json":
            text = value if isinstance(value, str) else json.dumps(value)
            plain[name] = "" if value is None else text
    return plain


def _escaped(text: str, content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if is_json(content_type):
        return json.dumps(text)[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus(text)
    if kind.endswith(("/xml", "+xml", "/html")):
        return escape(text)
    return text
