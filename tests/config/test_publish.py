"""The settings of publishing say what is wrong, and where a broker is."""

import pytest

from monitor.config.load import parse_config
from monitor.config.publish import PublishSettings
from monitor.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (
            "{url: 'http://broker'}",
            "must begin with mqtt://, mqtts://, nats:// or tls://",
        ),
        ("{url: 'mqtt://'}", "has no host"),
        ("{url: 'mqtt://b:0'}", "has the port 0, which no server has"),
        ('{url: "mqtt://b\\tc"}', "must not contain spaces"),
        ("{url: 'mqtt://broker/topic'}", "must be a scheme, a host and maybe a port"),
        ("{url: 'mqtt://broker:99999'}", "is not a URL"),
        ("{url: 'mqtt://me:secret@broker'}", "must not contain a user or a password"),
        ("{monitor: 'Yard'}", "must begin with a small letter or digit"),
        ("{prefix: 'a/b'}", "must begin with a letter or digit"),
        ("{password: 'env:P'}", "password needs username"),
        ("{url: 'mqtt://broker', ca_file: ca.pem}", "ca_file needs mqtts:// or tls://"),
        ("{url: 'mqtt://broker', nkey: env:N}", "nkey is for NATS"),
        ("{url: 'nats://b', nkey: env:N, username: u}", "two ways to sign in"),
    ],
)
def test_what_cannot_work_is_a_sentence(section: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(f"publish: {section}\n", "c.yaml")
    assert problem in str(raised.value)
    assert "secret@" not in str(raised.value)


def test_what_is_published_needs_a_database() -> None:
    with pytest.raises(ConfigError, match="publish needs a database"):
        parse_config("store: {path: null}\npublish: {url: 'nats://b'}\n", "c.yaml")


@pytest.mark.parametrize(
    ("url", "place", "target", "is_mqtt", "has_tls"),
    [
        ("mqtt://b", ("b", 1883), "mqtt://b:1883", True, False),
        ("mqtts://b", ("b", 8883), "mqtts://b:8883", True, True),
        ("nats://[::1]:1", ("::1", 1), "nats://[::1]:1", False, False),
        ("tls://b", ("b", 4222), "tls://b:4222", False, True),
    ],
)
def test_the_url_names_the_place(
    url: str, place: tuple[str, int], target: str, is_mqtt: bool, has_tls: bool
) -> None:
    settings = PublishSettings(url=url)
    assert (settings.place, settings.target) == (place, target)
    assert (settings.is_mqtt, settings.has_tls) == (is_mqtt, has_tls)
