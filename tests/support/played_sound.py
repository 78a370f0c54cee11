"""A microphone for machines without PulseAudio: a program that plays what it is given.

    python played_sound.py FOLDER

It writes raw PCM, 16 bit, mono, 44.1 kHz, at the speed of sound: faint noise, and
whatever `next.pcm` in FOLDER holds as soon as it is there.
"""

import sys
import time
from pathlib import Path

import numpy as np

RATE = 44_100
BLOCK_SAMPLES = 4410
BLOCK_BYTES = 2 * BLOCK_SAMPLES


class PlayedSound:
    """The microphone, as the tests use it."""

    def __init__(self, folder: Path) -> None:
        """Play the sounds that are put into `folder`."""
        self._folder = folder

    @property
    def input(self) -> str:
        """The input of its source in a configuration."""
        return f"command:{sys.executable} {__file__} {self._folder}"

    def play(self, pcm: bytes) -> None:
        """Play a sound, and return once it is over."""
        self.begin(pcm)
        time.sleep(len(pcm) / (2 * RATE))

    def begin(self, pcm: bytes) -> None:
        """Begin to play a sound."""
        coming = self._folder / "coming.pcm"
        coming.write_bytes(pcm)
        coming.rename(self._folder / "next.pcm")


def main() -> None:
    """Write samples for ever."""
    given, generator = Path(sys.argv[1]) / "next.pcm", np.random.default_rng(1)
    waiting, began, blocks = b"", time.monotonic(), 0
    while True:
        if given.exists():
            waiting += given.read_bytes()
            given.unlink()
        block, waiting = waiting[:BLOCK_BYTES], waiting[BLOCK_BYTES:]
        # Digital silence would be a fault of the microphone.
        noise = generator.normal(0, 20, BLOCK_SAMPLES).astype("<i2").tobytes()
        sys.stdout.buffer.write(block + noise[len(block) :])
        sys.stdout.buffer.flush()
        blocks += 1
        ahead = began + blocks * BLOCK_SAMPLES / RATE - time.monotonic()
        time.sleep(max(0.0, ahead))


if __name__ == "__main__":
    main()
