"""`sound-monitor collect`: what is wrong is said in a sentence, before the work."""

import re

import pytest

from monitor.commands.app import run_command_line
from monitor.config.publish import FleetBroker
from monitor.errors import ConfigError
from monitor.fleet.collect.subscription import open_subscription

DATABASE = ("--database", "postgresql:///fleet")
BROKER = ("--broker", "mqtt://localhost")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (BROKER, "missing option '--database'"),
        (DATABASE, "--broker is missing"),
        ((*DATABASE, "--broker", "http://x"), "--broker: 'http://x' must begin"),
        ((*DATABASE, "--broker", "mqtt://me:pw@x"), "must not contain a user"),
        ((*DATABASE, *BROKER, "--nkey", "file:x"), "nkey is for NATS"),
        ((*DATABASE, *BROKER, "--password", "env:X"), "password needs username"),
        (
            (*DATABASE, *BROKER, "--username", "x", "--password", "secret"),
            "must say where the secret is stored",
        ),
        (
            (*DATABASE, *BROKER, "--prefix", "a/b"),
            "--prefix: 'a/b' must begin with a letter",
        ),
        ((*DATABASE, *BROKER, "--parquet", __file__), "--parquet: "),
        ((*DATABASE, *BROKER, "--webhook", "/nonexistent"), "cannot be read (webhook)"),
        ((*DATABASE, *BROKER, "--webhook", "/dev/null"), "/dev/null: "),
        ((*DATABASE, *BROKER, "--json"), "--json needs --status"),
        (("--database", "fleet", *BROKER), "must begin with postgresql://"),
        (("--database", "postgresql://a:b@c/d", *BROKER), "can read a password"),
        (("--database", "postgresql://c/d?password=b", *BROKER), "can read a password"),
        ((*DATABASE, *BROKER, "--keep-days", "0"), "greater than or equal to 1"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["collect", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence.lower() in error.lower()
    assert error.count("\n") == 1


@pytest.mark.parametrize("more", [BROKER, ("--status",)])
def test_a_database_that_is_not_there_is_said_in_a_sentence(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://nobody@/fleet?host=/nonexistent"
    assert run_command_line(["collect", "--database", url, *more]) == 1
    error = capsys.readouterr().err
    assert "the fleet's database" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("scheme", "settings", "sentence"),
    [
        *(
            (scheme, settings, sentence)
            for scheme in ("mqtts", "tls")
            for settings, sentence in (
                ({"username": "x", "password": "env:NONE"}, "--password: the variable"),
                ({"ca_file": "/nonexistent"}, "--ca-file: /nonexistent "),
            )
        ),
        ("tls", {"nkey": "env:NONE"}, "--nkey: the variable NONE"),
    ],
)
def test_a_secret_or_file_that_is_missing_is_said_of_its_option(
    scheme: str, settings: dict[str, str], sentence: str
) -> None:
    broker = FleetBroker(url=f"{scheme}://localhost", **settings)
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        open_subscription(broker, {})
