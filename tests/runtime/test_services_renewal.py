"""A secret or a file that is renewed is noticed, and never shown."""

from pathlib import Path

from monitor.config.hooks import WebhookSettings
from monitor.config.outputs import MqttSettings
from monitor.runtime.services import stamp_of


def test_a_renewed_variable_file_or_credential_makes_another_stamp(
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
    stamps = [stamp_of(section, environ)]
    token.write_text("a")
    stamps.append(stamp_of(section, environ))
    (folder / "two").write_text("b")
    stamps.append(stamp_of(section, environ))
    stamps.append(stamp_of(section, {**environ, "ONE": "2"}))
    assert len(set(map(str, stamps))) == 4
    assert stamp_of(section, {**environ, "ONE": "2"}) == stamps[-1]


def test_a_renewed_certificate_makes_another_stamp(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    section = MqttSettings(host="a", tls=True, ca_file=str(authority))
    before = stamp_of(section, {})
    authority.write_text("another")
    assert stamp_of(section, {}) != before


def test_no_secret_stands_in_a_stamp() -> None:
    section = MqttSettings(host="a", username="b", password="env:SECRET")
    assert "hunter2" not in str(stamp_of(section, {"SECRET": "hunter2"}))
