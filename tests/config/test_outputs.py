"""Where others may ask how the monitor is doing."""

import pytest

from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import ConfigError


def parsed(text: str) -> Config:
    return parse_config(text, "config.yaml")


def test_nobody_can_ask_over_the_network_by_default() -> None:
    assert Config().metrics.listen is None


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9110", ("127.0.0.1", 9110)),
        ("127.8.8.8:1", ("127.8.8.8", 1)),
        ("localhost:9110", ("127.0.0.1", 9110)),
        ("[::1]:65535", ("::1", 65_535)),
    ],
)
def test_on_this_machine_no_token_is_needed(
    listen: str, address: tuple[str, int]
) -> None:
    config = parsed(f"metrics: {{listen: '{listen}'}}")
    assert config.metrics.address == address


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9110", "192.0.2.7:9110", "[::]:9110", "[2001:db8::1]:80"]
)
def test_others_are_answered_only_with_a_token(listen: str) -> None:
    with pytest.raises(ConfigError, match="other machines and needs token_secret"):
        parsed(f"metrics: {{listen: '{listen}'}}")
    parsed(f"metrics: {{listen: '{listen}', token_secret: 'env:TOKEN'}}")


@pytest.mark.parametrize(
    "listen",
    [
        "9110",
        "127.0.0.1",
        ":9110",
        "::1:9110",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "1.2.3:80",
        "example.org:80",
        "[127.0.0.1:80",
        "127.0.0.1:9110/metrics",
    ],
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.listen: "):
        parsed(f"metrics: {{listen: '{listen}'}}")


def test_a_token_does_not_stand_in_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("metrics: {listen: '127.0.0.1:80', token_secret: hush-hush}")
    assert "hush" not in str(caught.value)
