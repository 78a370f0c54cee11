"""Secrets: a renewed one is noticed, and no child process inherits one."""

from collections.abc import Mapping
from pathlib import Path

from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.config.hooks import WebhookSettings
from monitor.config.outputs import MqttSettings
from monitor.sinks.alerts.secrets import digest_of_contents, hide_secrets


def test_the_secrets_of_a_configuration_are_taken_out_of_the_environment() -> None:
    config = Config.model_validate(
        {
            "heartbeat": {"url_secret": "env:BEAT"},
            "alerts": [
                {
                    "name": "siren",
                    "webhook": {
                        "url": "https://example.org",
                        "bearer": "env:TOKEN",
                        "secret_headers": {"x-key": "env:KEY"},
                    },
                }
            ],
        }
    )
    environ = {"BEAT": "1", "TOKEN": "2", "KEY": "3", "CREDENTIALS_DIRECTORY": "/run"}
    environ |= {"PATH": "/bin", "OTHER": "4"}
    hide_secrets(config.model_dump(), environ)
    assert environ == {"PATH": "/bin", "OTHER": "4"}


def digest(section: Settings, environ: Mapping[str, str]) -> str:
    return digest_of_contents(section.model_dump(), environ)


def test_a_renewed_variable_file_or_credential_is_another_content(
    tmp_path: Path,
) -> None:
    token, folder = tmp_path / "token", tmp_path / "credentials"
    folder.mkdir()
    section = WebhookSettings(
        url="https://example.org",
        bearer=f"file:{token}",
        secret_headers={"x-one": "env:ONE", "x-two": "credential:two"},
    )
    environ = {"ONE": "1", "CREDENTIALS_DIRECTORY": str(folder)}
    digests = [digest(section, environ)]
    token.write_text("a")
    digests.append(digest(section, environ))
    (folder / "two").write_text("b")
    digests.append(digest(section, environ))
    digests.append(digest(section, {**environ, "ONE": "2"}))
    assert len(set(digests)) == 4
    assert digest(section, {**environ, "ONE": "2"}) == digests[-1]


def test_a_renewed_certificate_is_another_content(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    section = MqttSettings(host="a", tls=True, ca_file=str(authority))
    before = digest(section, {})
    authority.write_text("another")
    assert digest(section, {}) != before
