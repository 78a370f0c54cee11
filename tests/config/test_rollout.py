"""Settings of the roll out."""

import base64

import pytest

from monitor.config.load import parse_config
from monitor.errors import ConfigError

KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("{url: 'https://fleet.example/a'}", "needs public_keys"),
        (f"{{url: 'ftp://a', public_keys: ['{KEY}']}}", "must begin with https://"),
        (f"{{url: 'https://u:p@a', public_keys: ['{KEY}']}}", "user or a password"),
        (f"{{url: 'file:srv/a', public_keys: ['{KEY}']}}", "absolute path"),
        ("{url: /tmp/x}", r"must begin with https://, http:// or file:/$"),
        ("{url: 'https://u:p@x/y'}", "fetched without a login"),
        ("{public_keys: ['abc']}", "must be a public key"),
        (f"{{public_keys: ['{KEY[:-4]}']}}", "must be a public key"),
        ("{every_seconds: 0}", "every_seconds"),
    ],
)
def test_mistakes_are_named(section: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_config(f"rollout: {section}", "config.yaml")


def test_a_bundle_can_be_a_file() -> None:
    text = f"rollout: {{url: 'file:/srv/a', public_keys: ['{KEY}']}}"
    assert parse_config(text, "config.yaml").rollout.path == "/srv/a"
