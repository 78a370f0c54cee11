"""The certificates of cameras and servers are verified, by real TLS on both sides."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.audio.sources.network import Network
from monitor.commands.source_trial import try_sources
from monitor.config.audio import SourceSettings
from monitor.errors import ConfigError
from tests.audio.sources.test_network import (
    LACK,
    LOCKED,
    LOGIN,
    PASSWORD,
    camera,
    listening,
    slow,
    wait_for_tone,
)
from tests.support.stream_server import streams

trustme = pytest.importorskip("trustme")
pytestmark = [
    pytest.mark.camera,
    pytest.mark.skipif(bool(LACK), reason=f"needs {LACK}"),
]

# GnuTLS, OpenSSL in ffmpeg, and that of Python have words of their own.
UNKNOWN = r"\((Peer certificate failed|certificate verify failed|unable to get local)"
OTHER_NAME = r"does not match|is not valid for '127.0.0.1'|\(certificate verify failed"
ADVICE = "its certificate or that of its authority"
NAMES = r"its names: ipc\.local\): write one of the certificate's names in the URL"


class Files(NamedTuple):
    """PEM files: those that a server shows, and those that a user may name."""

    server: str
    other_name: str
    authority: str
    itself: str
    """The certificate of `other_name`, without its key."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("pem files of gate's")
    authority = trustme.CA()
    own, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("ipc.local")
    found = Files(*(str(folder / name) for name in Files._fields))
    own.private_key_and_cert_chain_pem.write_to_path(found.server)
    other.private_key_and_cert_chain_pem.write_to_path(found.other_name)
    authority.cert_pem.write_to_path(found.authority)
    other.cert_chain_pems[0].write_to_path(found.itself)
    return found


@contextmanager
def encrypted_camera(certificate: str) -> Iterator[str]:
    with camera(replace(LOCKED, certificate=certificate)) as it:
        yield it.url


@contextmanager
def encrypted_stream(certificate: str) -> Iterator[str]:
    login = f"admin:{PASSWORD}"
    with streams(Path(certificate).parent, login, certificate) as url:
        yield f"{url}/live.mp3"


Server = Callable[[str], Any]


@pytest.mark.parametrize(
    ("server", "shown", "settings"),
    [
        (encrypted_camera, "server", {"ca_file": "authority"}),
        (encrypted_stream, "server", {"ca_file": "authority"}),
        (encrypted_camera, "other_name", {"ca_file": "itself"}),
        slow(encrypted_camera, "other_name", {"verify_certificate": False}),
        slow(encrypted_stream, "other_name", {"verify_certificate": False}),
    ],
)
def test_a_trusted_certificate_is_heard(
    server: Server, shown: str, settings: dict[str, Any], files: Files
) -> None:
    if "ca_file" in settings:
        settings = {"ca_file": getattr(files, settings["ca_file"])}
    with (
        server(getattr(files, shown)) as url,
        listening(url, PASSWORD, **LOGIN, **settings) as reader,
    ):
        wait_for_tone(reader, 0.5)


@pytest.mark.parametrize(
    ("server", "shown", "ca_file", "reason"),
    [
        (encrypted_camera, "server", None, UNKNOWN),
        (encrypted_stream, "server", None, UNKNOWN),
        (encrypted_camera, "other_name", "authority", NAMES),
        (encrypted_stream, "other_name", "authority", OTHER_NAME),
        (encrypted_camera, "server", "itself", "it is not the one in .*itself"),
    ],
)
def test_another_certificate_is_not_heard_and_the_advice_follows(
    server: Server, shown: str, ca_file: str | None, reason: str, files: Files
) -> None:
    settings = {} if ca_file is None else {"ca_file": getattr(files, ca_file)}
    with (
        server(getattr(files, shown)) as url,
        listening(url, PASSWORD, **LOGIN, **settings) as reader,
    ):
        reader.wait_until(lambda: len(reader.sentences) > 1)
        assert "has no certificate that is trusted (" in reader.sentences[1]
        assert re.search(reason, reader.sentences[1])
        assert ADVICE in reader.sentences[1] or reason in (NAMES, OTHER_NAME)
        assert "or verify_certificate: false" in reader.sentences[1]


def test_a_stream_without_a_login_is_verified_too(files: Files) -> None:
    with streams(Path(files.server).parent, "", files.server) as url:
        settings = SourceSettings(name="gate", input=f"{url}/live.mp3")
        trusting = settings.model_copy(update={"ca_file": files.authority})
        sources = [Network(each, None) for each in (settings, trusting)]
        failed, heard = try_sources(sources)
    assert re.search(f"has no certificate that is trusted {UNKNOWN}", failed.sentence)
    assert ADVICE in failed.sentence
    assert heard.works


@pytest.mark.parametrize("login", [True, False])
def test_a_verified_stream_is_not_redirected_to_an_unencrypted_one(
    login: bool, files: Files
) -> None:
    folder = Path(files.server).parent
    words = f"admin:{PASSWORD}" if login else ""
    settings = LOGIN if login else {}
    password = PASSWORD if login else None
    with (
        streams(folder) as plain,
        streams(folder, words, files.server) as url,
        listening(
            f"{url}/to/{plain}/live.wav",
            password,
            ca_file=files.authority,
            **settings,
        ) as reader,
    ):
        reader.wait_until(lambda: len(reader.sentences) > 1)
        assert "redirects to an address without encryption" in reader.sentences[1]
        assert reader.blocks == []
    with (
        streams(folder, "", files.server) as other,
        streams(folder, words, files.server) as url,
        listening(
            f"{url}/to/{other}/live.wav",
            password,
            ca_file=files.authority,
            **settings,
        ) as reader,
    ):
        wait_for_tone(reader, 0.5)


def test_a_camera_without_encryption_is_no_trusted_one(files: Files) -> None:
    with camera() as it, listening(it.url.replace("rtsp:", "rtsps:")) as reader:
        reader.wait_until(lambda: len(reader.sentences) > 1)
        assert "has no TLS at this port (wrong version" in reader.sentences[1]
        it.stop()
        reader.wait_until(lambda: len(reader.sentences) > 2)
        assert "cannot be reached: Connection refused" in reader.sentences[2]


def test_a_stream_without_encryption_has_no_certificate_either(files: Files) -> None:
    with streams(Path(files.server).parent) as url:
        settings = SourceSettings(name="gate", input=f"https{url[4:]}/live.mp3")
        (failed,) = try_sources([Network(settings, None)])
    assert "has no TLS at this port (" in failed.sentence


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_an_error(
    content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    settings = SourceSettings(name="a", input="rtsps://gate/live", ca_file=str(file))
    with pytest.raises(ConfigError, match=r"live: ca_file: .+ (cannot be|holds no)"):
        Network(settings, None)
