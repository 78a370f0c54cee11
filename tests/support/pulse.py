"""A private PulseAudio whose null sink serves as a microphone.

The fixture `pulse` serves the integration tests; elsewhere it is imported.  What a test
plays into the sink "street" is what the device "pulse" (or the default one) captures,
in this process and in all that it starts.
"""

import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from numpy.typing import NDArray

_PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
_PACKAGES = "pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins"
_START_SECONDS = 10.0
_SINK = "street"


class PulseServer:
    """PulseAudio with its own socket and home, isolated from any other server.

    `start` and `kill` may be called again and again.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare in `folder`, whose path must be short: it holds a socket."""
        self.folder = folder
        self.environment = {
            "HOME": str(folder / "home"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "home"),
            "PULSE_RUNTIME_PATH": str(folder / "run/pulse"),
            "PULSE_SERVER": f"unix:{folder}/run/pulse/native",
            "PULSE_CLIENTCONFIG": str(folder / "client.conf"),
        }
        """What a program needs to reach this server and no other."""

        (folder / "home").mkdir()
        (folder / "run").mkdir(mode=0o700)
        (folder / "client.conf").write_text("autospawn = no\n")
        (folder / "home/.asoundrc").write_text("pcm.!default { type pulse }\n")
        self._server: subprocess.Popen[bytes] | None = None
        self._players: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the server, with a null sink; return when it answers."""
        self._server = self._run(
            [
                *("pulseaudio", "-n", "--exit-idle-time=-1", "--daemonize=no"),
                *("-L", f"module-null-sink sink_name={_SINK}"),
                *("-L", "module-native-protocol-unix"),
            ]
        )
        deadline = monotonic() + _START_SECONDS
        while self._run(["pactl", "info"]).wait(_START_SECONDS) != 0:
            assert monotonic() < deadline, "PulseAudio does not answer"
            sleep(0.02)
        # A null sink works two seconds ahead until a client asks for less, and keeps
        # a new recorder waiting for so long.  A real sound card does not.
        self._players.append(
            self._run(["parec", "-d", f"{_SINK}.monitor", "--latency-msec=10"])
        )

    def kill(self) -> None:
        """End the server as a crash would, and all who were connected to it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
        for player in self._players:
            player.kill()
            player.wait()
        self._players.clear()
        # A dead server's traces would keep the next one from starting.
        shutil.rmtree(self.folder / "run/pulse", ignore_errors=True)

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Begin to play a recording into the microphone; it ends by itself."""
        player = self._run(["paplay", "-d", _SINK, "--latency-msec=20", str(path)])
        self._players.append(player)
        return player

    def play_samples(
        self, samples: NDArray[np.float32], sample_rate: int
    ) -> subprocess.Popen[bytes]:
        """Begin to play `samples`, shape (channels, n)."""
        path = self.folder / f"played-{len(list(self.folder.glob('played-*')))}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(samples.shape[0])
            file.setsampwidth(2)
            file.setframerate(sample_rate)
            file.writeframes((samples.T * 32767).astype("<i2").tobytes())
        return self.play(path)

    def _run(self, argv: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def missing_programs() -> list[str]:
    """Return what the machine lacks for a virtual microphone."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if find_library("portaudio") is None:
        missing.append("PortAudio")
    plugins = ("*/alsa-lib", "alsa-lib", "../lib64/alsa-lib")
    if not any(
        list(Path("/usr/lib").glob(f"{folder}/libasound_module_pcm_pulse.so"))
        for folder in plugins
    ):
        missing.append("the ALSA plugin of PulseAudio")
    return missing


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[PulseServer]:
    """A running PulseAudio, which this process and its children use for the test."""
    missing = missing_programs()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt install {_PACKAGES}")
    with tempfile.TemporaryDirectory(prefix="pulse-", dir="/tmp") as folder:
        server = PulseServer(Path(folder))
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.start()
        try:
            yield server
        finally:
            server.kill()
