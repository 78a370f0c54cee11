"""Secrets do not get into what is told."""

import pytest

from monitor.sinks.alerts.secrets import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam:s3cret@10.0.0.7:554/live: 401 Unauthorized",
        "cannot open 'http://s3cret@example.org/'",
        "GET https://example.org/stream?key=s3cret&x=1 failed",
        "ffmpeg: Authorization: Bearer s3cret",
        "bad option --password=s3cret",
        "API-Key: s3cret, refused",
        '{"token": 1} token=s3cret',
    ],
)
def test_a_secret_is_not_told(text: str) -> None:
    told = without_secrets(text)
    assert "s3cret" not in told
    assert "***" in told


@pytest.mark.parametrize(
    "text",
    [
        "microphone 'USB Audio': no input device matches",
        "command 'ffmpeg' exited with code 1: rtsp://10.0.0.7/live: timed out",
        "is there a microphone? yes @ home",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text
