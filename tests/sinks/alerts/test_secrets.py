"""A secret or a file that is renewed is noticed though the settings stay the same."""

from collections.abc import Mapping
from pathlib import Path

from monitor.config.base import Settings
from monitor.config.hooks import WebhookSettings
from monitor.config.outputs import MqttSettings
from monitor.sinks.alerts.secrets import digest_of_contents


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
