"""A capture program that follows orders: `python faulty_source.py FOLDER`.

Writes the raw 32-bit floats of FOLDER/sound.RATE.CHANNELS in a loop, as an endless WAV
stream.  The wall clock gives the position in the loop, so the sound does not begin anew
after a restart.  FOLDER/device holds rate and channels.  An order in FOLDER/order is
executed at once, and the file is deleted.

It uses only the standard library, so it starts fast.
"""

import os
import signal
import struct
import sys
import time
from pathlib import Path

BLOCK_SECONDS = 0.05
FLOOD_SECONDS = 2.0
GARBAGE_SECONDS = 1.0


class FaultySource:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rate, channels = (folder / "device").read_text().split()
        self.rate, self.channels = int(rate), int(channels)
        self.sound = (folder / f"sound.{rate}.{channels}").read_bytes()
        self.frame_bytes = 4 * self.channels
        self.frames = len(self.sound) // self.frame_bytes
        self.flood_until = self.garbage_until = 0.0

    def play(self) -> None:
        put(1, self.header())
        at = round(time.time() * self.rate)
        due = time.monotonic()
        while True:
            self.follow_order()
            count = round(BLOCK_SECONDS * self.rate)
            due += count / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
            put(1, self.block(at, count))
            at += count
            if time.monotonic() < self.flood_until:
                put(2, b"ALSA lib pcm.c: (snd_pcm_recover) overrun occurred\n" * 1000)

    def block(self, at: int, count: int) -> bytes:
        if time.monotonic() < self.garbage_until:
            return os.urandom(count * self.frame_bytes)
        first = at % self.frames
        data = self.sound[first * self.frame_bytes :][: count * self.frame_bytes]
        return data + self.sound[: count * self.frame_bytes - len(data)]

    def follow_order(self) -> None:
        try:
            order, *arguments = (self.folder / "order").read_text().split()
        except (FileNotFoundError, ValueError):
            return
        (self.folder / "order").unlink()
        if order == "exit":
            sys.exit("no such device any more")
        elif order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif order == "flood":
            self.flood_until = time.monotonic() + FLOOD_SECONDS
        elif order == "garbage":
            self.garbage_until = time.monotonic() + GARBAGE_SECONDS
        elif order == "change":
            (self.folder / "device").write_text(" ".join(arguments))
            sys.exit(0)

    def header(self) -> bytes:
        """Return the header of a WAV of unknown length."""
        fields = (16, 3, self.channels, self.rate, self.rate * self.frame_bytes)
        form = struct.pack("<4sIHHIIHH", b"fmt ", *fields, self.frame_bytes, 32)
        return b"RIFF\xff\xff\xff\xffWAVE" + form + b"data\xff\xff\xff\xff"


def put(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    FaultySource(Path(sys.argv[1])).play()
