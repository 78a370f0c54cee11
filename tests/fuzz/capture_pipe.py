"""Damaged output of a capture child and of a command."""

import random
import struct
from pathlib import Path

import numpy as np

from monitor.audio.sources.microphone import MicrophoneStream
from monitor.audio.sources.pcm import PcmFormat, WavOrRawDecoder
from monitor.audio.sources.source import Lost
from monitor.audio.sources.wire import PipeHeader, encode_block
from monitor.errors import SourceError
from tests.support.fuzzing import damaged, one_sentence
from tests.support.wav_bytes import wav

MOST_HELD_BYTES = 2**25
"""Most that is read of an invalid stream, and more than a parser needs."""


class CapturePipe:
    """The output of a capture child or of a command."""

    def __init__(self, folder: Path) -> None:
        header = PipeHeader(48_000, 2).encode()
        blocks = [encode_block(lost, bytes(8 * 40), 2) for lost in (0, 0, 480, 0)]
        sound = bytes(range(256)) * 8
        self._child = [header + b"".join(blocks), header, blocks[0] * 30]
        self._command = [
            wav(sound, encoding=encoding, channels=channels)
            for encoding in ("s16le", "s24le", "f32le")
            for channels in (1, 2)
        ]
        self._command += [self._command[0] * 3, sound]

    def make(self, chance: random.Random) -> tuple[str, list[bytes]]:
        kind = chance.choice(("child", "command"))
        seeds = self._child if kind == "child" else self._command
        data = damaged(chance.choice(seeds), chance)
        if chance.random() < 0.5:
            place = chance.randrange(len(data) + 1)
            count = chance.choice((0, 1, 0xFFFF_FFFF, 0x8000_0000, 48_000, 2**22))
            data = data[:place] + struct.pack("<I", count) + data[place + 4 :]
        if chance.random() < 0.1:
            data += chance.randbytes(2**16) * chance.choice((1, 16))
        size = chance.choice((1, 3, 7, 1000, 2**18)) if len(data) < 10_000 else 2**14
        return kind, [data[at : at + size] for at in range(0, len(data), size)]

    def try_out(self, example: object) -> bool:
        assert isinstance(example, tuple)
        kind, parts = example
        try:
            (self._read_child if kind == "child" else self._decode_command)(parts)
        except SourceError as error:
            one_sentence(error)
            return False
        return True

    def _read_child(self, parts: list[bytes]) -> None:
        stream = MicrophoneStream(Scripted(parts), "microphone 'x'")
        read = 0
        while read < MOST_HELD_BYTES:
            block = stream.read(0.1)
            if isinstance(block, Lost):
                assert 0 < block.count <= 86_400 * stream.sample_rate
            elif block is not None:
                assert block.dtype == np.float32
                assert block.shape[0] == stream.channels
                read += block.nbytes

    def _decode_command(self, parts: list[bytes]) -> None:
        decoder = WavOrRawDecoder(PcmFormat(44_100, 1, "s16le"))
        given = taken = 0
        for part in parts:
            given += len(part)
            for pcm_format, block in decoder.push(part):
                assert block.shape[0] == pcm_format.channels
                taken += block.shape[1]
        assert taken <= given


class Scripted:
    """A child that wrote some bytes and ended."""

    pid = 0
    last_lines = ("it ended",)

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = iter(parts)

    def read(self, timeout_seconds: float, enough: int = 1) -> bytes:
        return next(self._parts, b"")

    def wait(self, timeout_seconds: float) -> int:
        return 1

    def ending(self, timeout_seconds: float) -> str:
        return "ended"

    def close(self) -> None:
        pass
