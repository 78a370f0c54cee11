"""Templates hold facts, escaped as their content type needs, and nothing else."""

import json

import pytest

from monitor.sinks.alerts.body import facts, render

BODY = {
    "label": 'dog "bark" & $rule',
    "source": "street\n",
    "rule": "r",
    "peak_score": 0.9,
    "hits": None,
    "escalation": True,
}


@pytest.mark.parametrize("kind", ["application/json", "application/ld+json; a=b"])
def test_fields_are_escaped_in_json(kind: str) -> None:
    template = (
        '{"a": "$label", "b": "${source}x", "c": $peak_score, "d": $hits, '
        '"e": $escalation, "f": "$end", "g": $json, "h": "$$5"}'
    )
    assert json.loads(render(template, kind, BODY)) == {
        "a": BODY["label"],
        "b": "street\nx",
        "c": 0.9,
        "d": None,
        "e": True,
        "f": "",
        "g": BODY,
        "h": "$5",
    }


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/plain", 'dog "bark" & $rule: 0.9'),
        ("application/x-www-form-urlencoded", "dog+%22bark%22+%26+%24rule: 0.9"),
        ("text/html", "dog &quot;bark&quot; &amp; $rule: 0.9"),
    ],
)
def test_other_kinds_have_their_own_escapes(kind: str, text: str) -> None:
    assert render("$label: $peak_score", kind, BODY) == text


def test_facts_are_text() -> None:
    assert facts(BODY)["peak_score"] == "0.9"
    assert facts(BODY)["hits"] == ""
    assert facts(BODY)["escalation"] == "true"
    assert "json" not in facts(BODY)
