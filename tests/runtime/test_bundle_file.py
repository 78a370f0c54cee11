"""A bundle is used only if every byte of it is signed, and brings settings alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.runtime.bundle_file import (
    MOST_BYTES,
    BundleError,
    BundleManifest,
    copy_model,
    read_bundle,
)
from tests.support.bundles import KEY, OTHER_KEY, made, public, signed

KEYS = (public(),)
SETTINGS = {"model": "bundle", "detection": {"sensitivity": 0.7}}


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as found:
        read_bundle(path, KEYS)
    return str(found.value)


def test_settings_and_model_come_out_as_they_went_in(tmp_path: Path) -> None:
    path = made(tmp_path / "a", 12, SETTINGS, b"weights", share=0.25)
    bundle = read_bundle(path, KEYS)
    assert (bundle.manifest.version, bundle.manifest.share) == (12, 0.25)
    dumped = bundle.manifest.settings.model_dump(exclude_unset=True)
    assert dumped == SETTINGS
    copy_model(path, bundle, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"weights"
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o600


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    content = made(tmp_path / "a", 12, SETTINGS, b"weights").read_bytes()
    for index in range(len(content)):
        changed = bytearray(content)
        changed[index] ^= 1 << index % 8
        (tmp_path / "b").write_bytes(changed)
        refusal(tmp_path / "b")


def test_any_cut_and_any_addition_is_noticed(tmp_path: Path) -> None:
    content = made(tmp_path / "a", 12, SETTINGS, b"weights").read_bytes()
    for length in range(len(content)):
        (tmp_path / "b").write_bytes(content[:length])
        refusal(tmp_path / "b")
    for more in (b"\0", b"\n", content):
        (tmp_path / "b").write_bytes(content + more)
        refusal(tmp_path / "b")


def test_another_key_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "a", key=OTHER_KEY)
    assert public(OTHER_KEY) in refusal(path)
    # During a rotation both may sign.
    assert read_bundle(path, (public(), public(OTHER_KEY))).key == public(OTHER_KEY)


def test_the_key_of_another_bundle_does_not_sign_this_one(tmp_path: Path) -> None:
    ours = made(tmp_path / "a").read_bytes().split(b"\n", 3)
    theirs = made(tmp_path / "b", key=OTHER_KEY).read_bytes().split(b"\n", 3)
    (tmp_path / "c").write_bytes(b"\n".join((ours[0], ours[1], theirs[2], theirs[3])))
    assert "signature is wrong" in refusal(tmp_path / "c")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"alerts": [{"name": "a", "command": {"argv": ["/bin/sh"]}}]}, "alerts"),
        ({"sources": [{"name": "a", "input": "command:id"}]}, "sources"),
        ({"rollout": {"url": "http://evil.example/"}}, "rollout"),
        ({"publish": {"url": "mqtt://evil.example"}}, "publish"),
        ({"mqtt": {"password": "file:/etc/shadow"}}, "mqtt"),
        ({"heartbeat": {"url": "http://evil.example/"}}, "heartbeat"),
        ({"state_dir": "/etc"}, "state_dir"),
        ({"privacy": "clips"}, "privacy"),
        ({"model": {"file": "/etc/passwd"}}, "model"),
        ({"models": ["../../other.safetensors"]}, "models"),
        ({"health": {"hold_seconds": 0}}, "health.hold_seconds"),
    ],
)
def test_a_signed_bundle_cannot_reach_beyond_detection(
    settings: dict[str, Any], key: str, tmp_path: Path
) -> None:
    line = json.dumps({"version": 1, "settings": settings}).encode() + b"\n"
    assert f"settings.{key}" in refusal(signed(tmp_path / "a", line))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]\n",
        b"\xff\xfe\n",
        b"PK\3\4 an archive",
        b"[" * 200_000 + b"\n",
        b'{"version": 1, "model_bytes": 5, "settings": {"model": "bundle"}}\nfour',
        b'{"version": 1, "model_bytes": 3, "settings": {"model": "bundle"}}\nfour',
        b'{"version": 1}\nno model was announced',
        b'{"version": 1, "model_bytes": 4}\nfour',
        b'{"version": 1, "settings": {"model": "bundle"}}\n',
        b'{"version": 0}\n',
        b'{"version": "1"}\n',
        b'{"version": 1, "share": 1.5}\n',
        b'{"version": 1, "share": NaN}\n',
        b'{"version": 1, "path": "../../etc"}\n',
        b'{"version": 1, "settings": {"model": "urban"}, "x": "' + b"x" * 2**20 + b'"}',
    ],
)
def test_a_signed_bundle_of_another_form_is_refused(
    payload: bytes, tmp_path: Path
) -> None:
    refusal(signed(tmp_path / "a", payload))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert "larger" in refusal(tmp_path / "a")


def test_the_digest_is_of_the_content_and_not_of_the_share(tmp_path: Path) -> None:
    def digest(*arguments: Any, share: float = 1.0) -> str:
        path = made(tmp_path / "a", *arguments, share=share)
        return read_bundle(path, KEYS).digest

    first = digest(12, SETTINGS, b"weights", share=0.1)
    assert digest(12, SETTINGS, b"weights") == first
    assert digest(12, SETTINGS, b"Weights") != first
    assert digest(12, {"model": "bundle"}, b"weights") != first


def test_a_share_is_stable_grows_and_differs_by_version() -> None:
    names = [f"monitor-{number}" for number in range(2000)]

    def chosen(version: int, share: float) -> set[str]:
        manifest = BundleManifest(version=version, share=share)
        return {name for name in names if manifest.is_for(name)}

    tenth, half = chosen(7, 0.1), chosen(7, 0.5)
    assert 150 < len(tenth) < 250
    assert tenth < half < chosen(7, 1.0) == set(names)
    assert len(tenth & chosen(8, 0.1)) < 50


def test_equal_bundles_are_equal_files(tmp_path: Path) -> None:
    first, second = (
        made(tmp_path / name, 3, SETTINGS, b"weights", KEY).read_bytes()
        for name in ("a", "b")
    )
    assert first == second
