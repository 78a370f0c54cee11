"""A camera: GStreamer's RTSP server in a process of its own, and the faults of both.

The file is also the server: the system's Python runs it, for that has GStreamer.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

DEADLINE_SECONDS = 20.0
PYTHON = "/usr/bin/python3"

_PICTURE = (
    "videotestsrc is-live=true ! "
    "video/x-raw,format=I420,width=160,height=120,framerate=5/1 ! "
    "jpegenc ! rtpjpegpay name=pay{place}"
)
_TONE = "audiotestsrc is-live=true samplesperbuffer=160 freq=1000 volume=0.5"
_CODECS = {
    "pcmu": "mulawenc ! rtppcmupay max-ptime=20000000",
    "pcma": "alawenc ! rtppcmapay max-ptime=20000000",
    "l16": "audioconvert ! rtpL16pay",
    "opus": "opusenc ! rtpopuspay",
}


@dataclass(frozen=True)
class CameraSettings:
    """What a camera sends, and to whom."""

    codec: str | None = "pcmu"
    """None: no sound.  A path: a file with AAC, as ADTS."""

    rate: int = 8_000
    channels: int = 1
    picture: bool = True
    recording: str = ""
    """WAV file that is played from each connection's beginning, instead of a tone."""

    user: str = ""
    password: str = ""
    certificate: str = ""
    """PEM file with certificate and key: the stream is encrypted."""

    def pipeline(self) -> str:
        """Description of the media, as GStreamer has it."""
        parts = [_PICTURE.format(place=0)] if self.picture else []
        payload = f"name=pay{len(parts)}"
        if self.codec is None:
            pass
        elif self.codec in _CODECS:
            source = _TONE
            if self.recording:
                source = f"filesrc location={self.recording} ! wavparse"
            form = f"audio/x-raw,rate={self.rate},channels={self.channels}"
            convert = f"audioconvert ! audioresample ! {form}"
            parts.append(f"{source} ! {convert} ! {_CODECS[self.codec]} {payload}")
        else:
            reader = f"filesrc location={self.codec} ! aacparse"
            parts.append(f"{reader} ! rtpmp4gpay {payload}")
        return f"( {' '.join(parts)} )"


class Camera:
    """A camera on a port of its own; the port stays the same when it starts again."""

    def __init__(self, settings: CameraSettings | None = None) -> None:
        """Start it."""
        self.settings = settings or CameraSettings()
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """URL without user and password."""
        scheme = "rtsps" if self.settings.certificate else "rtsp"
        return f"{scheme}://127.0.0.1:{self.port}/live"

    def start(self, settings: CameraSettings | None = None) -> None:
        """Start it, maybe with other settings; returns when it answers."""
        self.settings = settings or self.settings
        document = json.dumps(asdict(self.settings))
        self._process = subprocess.Popen(
            [PYTHON, __file__, str(self.port), document, self.settings.pipeline()],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,  # its end is the end of the tests
        )
        assert self._process.stdout is not None
        ready, *_ = select.select([self._process.stdout], [], [], DEADLINE_SECONDS)
        assert ready, "the camera does not start"
        assert self._process.stdout.readline() == b"ready\n"

    def freeze(self) -> None:
        """Stop everything, with all connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once, as when its plug is pulled out: all connections break."""
        self._process.kill()
        self._process.wait(DEADLINE_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing() -> str:
    """Return what this machine lacks for a camera; empty if nothing."""
    if shutil.which("ffmpeg") is None:
        return "ffmpeg"
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path(PYTHON).exists() or subprocess.call(
        [PYTHON, "-c", probe], stderr=subprocess.DEVNULL, env={**os.environ}
    ):
        return "GStreamer's RTSP server: gir1.2-gst-rtsp-server-1.0 and python3-gi"
    return ""


def serve(port: str, document: str, pipeline: str) -> None:
    """Answer at `port` until the end of the process.  Runs in the system's Python."""
    import gi

    for name in ("Gst", "GstRtsp", "GstRtspServer"):
        gi.require_version(name, "1.0")
    from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer

    settings = CameraSettings(**json.loads(document))
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline)
    server.get_mount_points().add_factory("/live", factory)
    auth = GstRtspServer.RTSPAuth()
    if settings.user:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_digest(settings.user, settings.password, token)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_role("user")
        for right in ("access", "construct"):
            permissions.add_permission_for_role("user", f"media.factory.{right}", True)
        factory.set_permissions(permissions)
    if settings.certificate:
        pem = Gio.TlsCertificate.new_from_file(settings.certificate)
        auth.set_tls_certificate(pem)
    if settings.user or settings.certificate:
        server.set_auth(auth)
    server.attach(None)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
