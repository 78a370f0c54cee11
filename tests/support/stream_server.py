"""A server of live streams by HTTP: a tone of 1 kHz, encoded by ffmpeg."""

import base64
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TONE = "sine=frequency=1000:sample_rate=22050"
FORMATS = {
    "wav": ["-f", "wav"],
    "mp3": ["-f", "mp3"],
    "ogg": ["-c:a", "libvorbis", "-flush_packets", "1", "-f", "ogg"],
    "pcm": ["-f", "s16le"],
}
_ENCODE = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", TONE]


class _Handler(SimpleHTTPRequestHandler):
    """Answers `/live.FORMAT`, `/to/URL` by a redirection, and files of the folder."""

    def __init__(self, *arguments: Any, login: str, **options: Any) -> None:
        self._login = login
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        wanted = f"Basic {base64.b64encode(self._login.encode()).decode()}"
        if self._login and self.headers["Authorization"] != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="streams"')
            self.end_headers()
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        name, _, ending = self.path.partition(".")
        if name != "/live" or ending not in FORMATS:
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        with subprocess.Popen(
            [*_ENCODE, *FORMATS[ending], "-"], stdout=subprocess.PIPE
        ) as encoder:
            assert encoder.stdout is not None
            try:
                while data := encoder.stdout.read1(4096):
                    self.wfile.write(data)
            except OSError:
                encoder.kill()  # the listener has gone

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def streams(folder: Path, login: str = "", certificate: str = "") -> Iterator[str]:
    """Serve streams and the files of `folder`; yield the beginning of their URL.

    `certificate` is a PEM file with certificate and key: the streams are encrypted.
    """
    handler = partial(_Handler, directory=str(folder), login=login)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs to the thread of the connection.
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, name="streams")
        thread.start()
        try:
            scheme = "https" if certificate else "http"
            yield f"{scheme}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def playlist(folder: Path) -> Iterator[None]:
    """Write `live.m3u8` into `folder`, of segments of a second."""
    form = ["-c:a", "aac", "-f", "hls", "-hls_time", "1", "-hls_list_size", "4"]
    encoder = subprocess.Popen([*_ENCODE, *form, str(folder / "live.m3u8")])
    try:
        while not (folder / "live2.ts").exists():  # enough for a second more
            time.sleep(0.05)
        yield
    finally:
        encoder.kill()
        encoder.wait()
