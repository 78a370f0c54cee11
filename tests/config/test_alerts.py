"""Rules that cannot work are rejected, with line, key and value."""

import pytest

from monitor.config.load import parse_config
from monitor.errors import ConfigError

URL = "webhook: {url: 'https://example.org/'}"
ATTACHING = "{url_secret: 'env:URL', attach: [picture]}"


def message(rule: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"alerts:\n  - name: a\n    {rule}\n", "config.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("labels: [siren]", "config.yaml:2: alerts[0]: rule 'a' has no hook"),
        (f"sources: [yard]\n    {URL}", "'yard' is not a source; choose from street"),
        (f"on: [begin]\n    {URL}", "config.yaml:3: alerts[0].on[0]: 'begin' must be"),
        (f"on: []\n    {URL}", "on: an empty list reports nothing"),
        (f"on: [end]\n    still_on_seconds: 5\n    {URL}", "needs onset in on"),
        (f"notify: {ATTACHING}", "notify.attach needs end in on: the clip"),
        (f"on: [end]\n    notify: {ATTACHING}", "[0].notify.attach: needs privacy"),
        (f"cooldown: 5\n    {URL}", "did you mean cooldown_seconds?"),
        (f"min_score: 1.5\n    {URL}", "alerts[0].min_score: 1.5 must be at most 1"),
        (f"max_per_hour: 0\n    {URL}", "max_per_hour: 0 must be greater than 0"),
        (
            f"min_duration_seconds: 9\n    escalate_after_seconds: 9\n    {URL}",
            "must be longer than min_duration_seconds: 9",
        ),
        (f"time_zone: Mars/Base\n    {URL}", "'Mars/Base' is not a time zone"),
        (
            f"quiet: [{{begin: '25:00', end: '07:00'}}]\n    {URL}",
            "alerts[0].quiet[0].begin: '25:00' must be a time of day",
        ),
        (
            f"quiet: [{{begin: '08:00', end: '08:00'}}]\n    {URL}",
            "begin and end are both 08:00",
        ),
        (f"quiet: [{{weekdays: []}}]\n    {URL}", "an empty list is never"),
        (f"quiet: [{{}}]\n    {URL}", "covers the whole week"),
        (
            "quiet: [{begin: '22:00', end: '07:00'}, {begin: '07:00', end: '22:00'}]"
            f"\n    {URL}",
            "config.yaml:3: alerts[0].quiet: covers the whole week",
        ),
        ("webhook: {}", "needs url or url_secret, and not both"),
        ("webhook: {url: 'file:///etc/passwd'}", "must begin with https:// or http://"),
        ("webhook: {url: 'ftp://x/'}", "'ftp://x/' must begin with https:// or"),
        ("webhook: {url: 'https:///x'}", "has no host"),
        ("webhook: {url: 'https://a:0/x'}", "has the port 0, which no server has"),
        (
            "webhook: {url: 'https://a..b/'}",
            "the host has a part that is empty or too long",
        ),
        (
            "mqtt: {host: 'a..b'}",
            "'a..b' the host has a part that is empty or too long",
        ),
        ("webhook: {url: 'https://x:port/'}", "is not a URL"),
        ("webhook: {url: 'https://x/a b'}", "must not contain spaces"),
        (
            "webhook: {url: 'http://x/', headers: {'webhook-id': '1'}}",
            "the monitor sets the header",
        ),
        (
            "webhook: {url: 'http://x/', headers: {Authorization: 'Bearer 1234'}}",
            "is a secret; use bearer",
        ),
        (
            'webhook: {url: "http://x/", headers: {X-A: "b\\r\\nX-C: d"}}',
            "must be printable ASCII",
        ),
        (
            "webhook: {url: 'http://x/', bearer: 'env:A', basic_user: b, "
            "basic_password: 'env:B'}",
            "exclude each other",
        ),
        (
            "webhook: {url: 'http://x/', body: '{\"a\": \"$lable\"}'}",
            "there is no field $lable; did you mean $label?",
        ),
        (
            "webhook: {url: 'http://x/', body: '$label.__class__ 5$'}",
            "a $ without a field after it in line 1",
        ),
        ("webhook: {url: 'http://x/', body: '{\"a\": $label}'}", "does not give JSON"),
        ("command: []", "must name a program"),
        ("command: ls -l", "'ls -l' must be a list, the program and its arguments"),
        ("command: {argv: ls -l}", "argv: 'ls -l' must be a list"),
        ("webhook: {url: 'http://x/', total_seconds: 0}", "must be at least 0.1"),
    ],
)
def test_each_fault_is_named_with_its_place(rule: str, sentence: str) -> None:
    assert sentence in message(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "webhook: {url: 'https://me:hunter2@x/'}",
        "webhook: {url: 'ftp://me:hunter2@x/'}",
        "webhook: {url: 'http://x/', bearer: hunter2}",
        "webhook: {url: 'http://x/', secret: [hunter2]}",
        "webhook: {url: 'http://x/', secret: 'env:hunter2 hunter2'}",
        "webhook: {url: 'http://x/', headers: {Authorization: hunter2}}",
        "webhook: {url: 'http://x/', secret_headers: {X-Key: hunter2}}",
    ],
)
def test_a_message_contains_no_secret(rule: str) -> None:
    assert "hunter2" not in message(rule)


def test_two_rules_must_not_share_a_name() -> None:
    text = f"alerts:\n  - {{name: a, {URL}}}\n  - {{name: a, {URL}}}\n"
    with pytest.raises(ConfigError, match="two rules have the name 'a'"):
        parse_config(text, "config.yaml")


def test_a_command_is_a_list_or_a_section() -> None:
    text = (
        "alerts:\n"
        "  - {name: a, command: [ls, -l]}\n"
        "  - {name: b, command: {argv: [ls, -l], total_seconds: 3}}\n"
    )
    first, second = parse_config(text, "config.yaml").alerts
    assert first.command is not None
    assert second.command is not None
    assert first.command.argv == second.command.argv == ("ls", "-l")
    assert first.endpoints == ("a/command",)
