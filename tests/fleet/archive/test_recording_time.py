"""The begin of a recording, from sidecars, headers and names."""

import json
from pathlib import Path

import pytest
import soundfile

from monitor.errors import UsageError
from monitor.fleet.archive.recording_time import (
    TimeRules,
    recorder_of,
    recording_time,
)
from tests.support.archives import with_chunk, write_recording


def found(path: Path, **rules: str) -> tuple[str, str] | None:
    it = recording_time(path.name, path, TimeRules(**rules))
    return None if it is None else (f"{it.start:%Y-%m-%d %H:%M:%S.%f}"[:-3], it.origin)


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("20240501_050000.WAV", "2024-05-01 05:00:00.000"),
        ("20240501_050000T.WAV", "2024-05-01 05:00:00.000"),
        ("5E90A4D4.WAV", "2020-04-10 16:54:44.000"),
        ("SMA00123_20240501_050000.wav", "2024-05-01 05:00:00.000"),
        ("S4A01_0+1_20240501_050000.wav", "2024-05-01 05:00:00.000"),
        ("20240501T050000+0200_REC.flac", "2024-05-01 03:00:00.000"),
        ("20240501T050000-0330.flac", "2024-05-01 08:30:00.000"),
        ("yard 2024-05-01T05-00-00Z.flac", "2024-05-01 05:00:00.000"),
        ("2024-05-01 05:00:00.25.flac", "2024-05-01 05:00:00.250"),
        ("2024-05-01_05-00-00_12.flac", "2024-05-01 05:00:00.000"),
        ("20240501050000.wav", "2024-05-01 05:00:00.000"),
    ],
)
def test_names_of_recorders(name: str, time: str, tmp_path: Path) -> None:
    assert found(tmp_path / name) == (time, "name")


@pytest.mark.parametrize(
    "name", ["notes.wav", "20241301_050000.wav", "12345678.wav", "18990101_000000.wav"]
)
def test_a_name_without_a_time_of_this_age_has_none(name: str, tmp_path: Path) -> None:
    assert found(tmp_path / name) is None


def test_times_without_a_zone_are_of_the_chosen_one(tmp_path: Path) -> None:
    summer = found(tmp_path / "20240701_120000.wav", zone="Europe/Vienna")
    winter = found(tmp_path / "20240101_120000.wav", zone="Europe/Vienna")
    assert summer == ("2024-07-01 10:00:00.000", "name")
    assert winter == ("2024-01-01 11:00:00.000", "name")


def test_a_pattern_of_ones_own_is_all_that_counts(tmp_path: Path) -> None:
    pattern = "rec-%d.%m.%Y-%Hh%M"
    time = found(tmp_path / "rec-01.05.2024-05h07.wav", pattern=pattern)
    assert time == ("2024-05-01 05:07:00.000", "pattern")
    assert found(tmp_path / "20240501_050000.wav", pattern=pattern) is None


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"zone": "Middle/Earth"}, "--time-zone: 'Middle/Earth' is no time zone"),
        ({"zone": "../etc"}, "is no time zone"),
        ({"pattern": "rec"}, "--time-pattern: 'rec' has no % of strptime"),
        ({"pattern": "%Y %Q"}, "--time-pattern: '%Y %Q'"),
    ],
)
def test_rules_that_are_none_are_refused(rules: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        TimeRules(**rules).check()
    TimeRules("%Y", "Europe/Vienna").check()


def test_a_pattern_that_fits_no_name_is_said(caplog: pytest.LogCaptureFixture) -> None:
    TimeRules("r%Y").warn_if_unused(["a/x.wav", "a/r2024.wav"])
    assert not caplog.messages
    TimeRules("r%Y").warn_if_unused(["a/x.wav", "a/y.wav"])
    assert "'r%Y' fits none of the 2 names, as 'x'" in caplog.text


@pytest.mark.parametrize(
    ("comment", "time"),
    [
        ("(UTC)", "2019-02-28 19:17:30.000"),
        ("(UTC+2)", "2019-02-28 17:17:30.000"),
        ("(UTC-3:30)", "2019-02-28 22:47:30.000"),
    ],
)
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_the_comment_of_an_audiomoth(
    comment: str, time: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"20240501_050000.{kind}"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        file.comment = f"Recorded at 19:17:30 28/02/2019 {comment} by AudioMoth 24E1."
        file.write([0.0] * 800)
    assert found(path) == (time, "comment")


def test_chunks_of_guano_and_broadcast_wav(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.wav", 1.0)
    bext = b"\0" * 320 + b"2024-05-01" + b"05-00-00" + b"\0" * 264
    with_chunk(path, b"junk", b"odd")
    with_chunk(path, b"guan", b"odd")
    with_chunk(path, b"bext", bext)
    assert found(path) == ("2024-05-01 05:00:00.000", "bext")
    guano = "GUANO|Version: 1.0\nTimestamp: 2023-01-25T11:43:02.211+01:00\nNote: x\n"
    path = write_recording(tmp_path / "b.wav", 1.0)
    with_chunk(path, b"bext", bext)
    with_chunk(path, b"guan", guano.encode())
    assert found(path) == ("2023-01-25 10:43:02.211", "guano")


@pytest.mark.parametrize(
    ("content", "time"),
    [
        (json.dumps({"start_time": 1714539600}), "2024-05-01 05:00:00.000"),
        (json.dumps({"start": "2024-05-01T05:00+02:00"}), "2024-05-01 03:00:00.000"),
        (json.dumps({"start": [1]}), None),
        (json.dumps({"start": 1e30}), None),
        ("[" * 100_000, None),
        ("{", None),
    ],
)
def test_a_sidecar_counts_first(content: str, time: str | None, tmp_path: Path) -> None:
    (tmp_path / "20200101_000000.json").write_text(content)
    expected = (
        ("2020-01-01 00:00:00.000", "name") if time is None else (time, "sidecar")
    )
    assert found(tmp_path / "20200101_000000.wav") == expected


@pytest.mark.parametrize("head", [b"RIFF", b"RIFF\xff\xff\xff\xffWAVEguan\xff", b""])
def test_a_header_of_damage_is_no_time(head: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "x.wav").write_bytes(head)
    assert found(path) is None


@pytest.mark.parametrize(
    ("name", "recorder"),
    [
        ("cards/SMA00123_20240501_050000.wav", "SMA00123"),
        ("cards/site 1/20240501_050000.wav", "site_1"),
        ("cards/site 1/5E90A4D4.WAV", "site_1"),
        ("1.wav", "recording"),
    ],
)
def test_the_recorder_is_before_the_time_else_the_folder(
    name: str, recorder: str
) -> None:
    assert recorder_of(name) == recorder
