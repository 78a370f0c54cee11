"""The metrics server is open to other machines only with a token; what needs what."""

import pytest

from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import ConfigError


def parsed(text: str) -> Config:
    return parse_config(text, "config.yaml")


def test_embeddings_need_a_database() -> None:
    assert not Config().store.embeddings
    assert parsed("store: {embeddings: true}").store.embeddings
    with pytest.raises(ConfigError, match="embeddings: true needs path"):
        parsed("store: {embeddings: true, path: null}")


def test_there_is_no_metrics_server_by_default() -> None:
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
def test_an_address_for_other_machines_needs_a_token(listen: str) -> None:
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
def test_another_form_of_address_is_rejected(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.listen: "):
        parsed(f"metrics: {{listen: '{listen}'}}")


def test_a_token_in_the_file_is_rejected_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("metrics: {listen: '127.0.0.1:80', token_secret: hush-hush}")
    assert "hush" not in str(caught.value)
