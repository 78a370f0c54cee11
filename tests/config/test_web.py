"""The page is private by default, and its settings take no other form than theirs."""

import pytest

from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import ConfigError


def test_by_default_only_this_machine_reaches_the_page_and_it_changes_nothing() -> None:
    settings = Config().web
    assert settings.address == ("127.0.0.1", 8480)
    assert settings.may_change == settings.hosts == settings.frame_ancestors == ()


def test_names_of_hosts_are_compared_in_lower_case() -> None:
    text = "web: {hosts: [Monitor.Local, 192.168.1.7, '[fe80::1]']}"
    settings = parse_config(text, "config.yaml").web
    assert settings.hosts == ("monitor.local", "192.168.1.7", "[fe80::1]")


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("may_change: [thresholds]", "'thresholds' must be 'sensitivity' or 'mute'"),
        ("hosts: ['http://a']", "must be a name or an address, without http://"),
        ("hosts: ['a:80']", "must be a name or an address, without http://"),
        ("frame_ancestors: ['*']", "must be self, or an origin"),
        ('frame_ancestors: ["https://a; script-src *"]', "must be self, or an origin"),
        ("listen: 0.0.0.0", "must be an address and a port"),
        ("language: fr", "must be 'en' or 'de'"),
        ("max_viewers: 0", "must be at least 1"),
        ("proxy_signs_in: true", "proxy_signs_in needs trusted_proxy"),
    ],
)
def test_other_values_are_refused(setting: str, rule: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(f"web: {{{setting}}}", "config.yaml")
    assert rule in str(error.value)
