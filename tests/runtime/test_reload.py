"""What a configuration changes is said in the words of the configuration."""

import pytest

from monitor.config.load import parse_config
from monitor.runtime.reload import compare

STREET = "{name: street, input: 'mic:a'}"
YARD = "{name: yard, input: 'mic:b'}"
OPS = "{name: ops, command: ['true']}"


def sources(*entries: str) -> str:
    return f"sources: [{', '.join(entries)}]\n"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("", "", ""),
        (sources(STREET), sources(STREET, YARD), "sources added: yard"),
        (sources(STREET, YARD), sources(YARD), "sources removed: street"),
        (sources(STREET, YARD), sources(YARD, STREET), ""),
        (
            sources(STREET),
            sources("{name: street, input: 'mic:b'}"),
            "sources changed: street",
        ),
        (
            sources(STREET),
            sources("{name: street, input: 'mic:a', level_offset_db: 90}"),
            "sources adjusted: street",
        ),
        ("", f"alerts: [{OPS}]", "rules added: ops"),
        (
            f"alerts: [{OPS}]",
            "alerts: [{name: ops, labels: [siren], command: ['true']}]",
            "rules changed: ops",
        ),
        (
            "detection: {labels: {siren: {margin: 0.1}, dog_bark: {}}}",
            "detection: {labels: {siren: {margin: 0.2}, dog_bark: {}}}",
            "thresholds changed: siren",
        ),
        (
            "detection: {labels: {siren: {margin: 0.1}}}",
            "detection: {hop_frames: 96}",
            "thresholds changed: siren; settings changed: detection.hop_frames",
        ),
        (
            "mqtt: {host: a}",
            "ring_seconds: 60",
            "settings changed: ring_seconds, mqtt",
        ),
    ],
)
def test_what_changes_is_said(before: str, after: str, sentence: str) -> None:
    first, second = (
        parse_config(text or "{}", "config.yaml") for text in (before, after)
    )
    assert compare(first, second).sentence == sentence
