"""Extent of a recording: whether its container is whole, cut off, or one of several.

To libsndfile a file that was cut off is often just a shorter recording, and of files
that `cat` joined it reads the first.  So the lengths in the containers are compared
with the file here, without decoding: the chunks of RIFF, RF64 and BW64 (EBU Tech 3306),
W64, AIFF, 8SVX and CAF, the pages of Ogg (RFC 3533), the frames of MPEG audio (ISO
11172-3), the beginnings of FLAC (RFC 9639), the header of AU.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from monitor.audio.sources.pcm import UNSURE_LENGTH

Extent = Literal["whole", "cut off", "joined", "unknown"]
"""Joined: more follows behind its end that libsndfile does not read.

Unknown: the container does not say how long it is, or is none of those above.
"""

Read = Callable[[int, int], bytes]
"""Reads so many bytes from a position of the file; fewer at its end."""

_BLOCK_BYTES = 1 << 20
_RESYNC_BYTES, _RESYNC_STEP = 1 << 20, 1 << 12
"""Bytes in which the next frame of a damaged MP3 is searched, and at a time."""

_MOST_CHUNKS = 10_000
"""Further chunks, as of a file that was made to take long, are not looked at."""

_MOST_TAIL_BYTES = 1 << 16
"""Tags and padding that no container describes; more than that are samples."""

_OGG_BEGINS, _OGG_ENDS = 2, 4
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_XING = re.compile(rb"(?:Xing|Info)\x00\x00\x00[\x01\x03\x05\x07\x09\x0b\x0d\x0f]")
_XING_BYTES = 200
_SYNC = re.compile(rb"\xff[\xe2-\xff]")

_RATES = (44_100, 48_000, 32_000)
_LAYER_3, _LAYER_2 = 1, 2  # as the header of a frame numbers them
_KBITS = {
    _LAYER_3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    _LAYER_2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
}
_CODEC_DELAY = 3 * 1152
"""Samples at the ends that a decoder may keep."""

_KBITS_OF_MPEG_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a container divides a file into chunks."""

    first: int
    """Position of the first chunk."""
    header: struct.Struct
    placeholder: int
    """Least length that a program writes which does not know it."""
    align: int = 2
    counted: int = 0
    """Bytes of a chunk's header that its length counts."""


_RIFF = _Layout(12, struct.Struct("<4sI"), UNSURE_LENGTH)
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"FORM": _Layout(12, struct.Struct(">4sI"), UNSURE_LENGTH),
    b"caff": _Layout(8, struct.Struct(">4sQ"), 1 << 62, align=1),
    b"riff": _Layout(40, struct.Struct("<4s12xQ"), 1 << 62, align=8, counted=24),
}
_BEGINNING = re.compile(b"RIFF|RF64|BW64|FORM|caff|riff|\\.snd")
_NAME = re.compile(b"[ -~]+")
_SAMPLES = (b"data", b"SSND", b"BODY")
"""Names of the chunks that hold the samples."""


def extent_of(read: Read, size: int, heard: int | None = None) -> Extent:
    """Compare a file of `size` bytes with the lengths that it states.

    `heard` is the number of samples that libsndfile read of it, if it did.
    """
    start = 0
    while tag := _id3_bytes(read(start, 10)):
        start += tag
    magic = read(start, 4)
    if magic in _LAYOUTS:
        return _of_chunks(read, size, start, _LAYOUTS[magic])
    if magic == b".snd":
        return _of_au(read, size, start)
    if magic == b"OggS":
        return _of_ogg(read, size, start)
    if magic == b"fLaC":
        return _of_flac(read, start)
    if _frame_bytes(magic):
        return _of_mpeg(read, size, start, heard)
    return "unknown"


def _of_chunks(read: Read, size: int, start: int, layout: _Layout) -> Extent:
    position, stated, has_samples = start + layout.first, 0, False
    for _ in range(_MOST_CHUNKS):
        header = read(position, layout.header.size)
        if len(header) < layout.header.size:
            break
        name, length = layout.header.unpack(header)
        body = position + len(header)
        if name == b"ds64":
            stated = int.from_bytes(read(body + 8, 8), "little")
        is_unsure = length == 0 or length >= layout.placeholder
        if name == b"data" and stated and is_unsure:
            length, is_unsure = stated, False
        stop = body + length - layout.counted
        if name in _SAMPLES and not has_samples:
            if stop > size or length == 0:
                return "unknown" if is_unsure else "cut off"
            has_samples = True
        elif has_samples and not _NAME.fullmatch(name):
            return _of_tail(read, size, position)
        position = max(body, stop)
        if has_samples and _BEGINNING.search(read(position, 12)):  # padding or not
            return "joined"
        position += -length % layout.align
    return "whole" if has_samples else "unknown"


def _of_tail(read: Read, size: int, position: int) -> Extent:
    """Judge what follows the samples and is no chunk beside them."""
    beginning = read(position, 64)
    is_long = size - position > _MOST_TAIL_BYTES and beginning.strip(b"\0") != b""
    return "joined" if is_long or _BEGINNING.match(beginning) else "whole"


def _of_au(read: Read, size: int, start: int) -> Extent:
    header = read(start + 4, 8)
    first, length = struct.unpack(">II", header) if len(header) == 8 else (0, 0)
    stop = start + first + length
    if stop > size or length == 0:
        return "unknown" if length in (0, 0xFFFF_FFFF) else "cut off"
    return _of_tail(read, size, stop)


def _of_ogg(read: Read, size: int, start: int) -> Extent:
    position: int | None = start
    going_on: set[bytes] = set()  # serial numbers of the streams that have not ended
    has_data = False
    while position is not None:
        page = read(position, 27 + 255)
        if page[:4] == b"OggS" and len(page) < 27:
            return "cut off"
        if page[:4] != b"OggS":
            position = _find(read, re.compile(b"OggS"), position)
            continue
        flags, serial, segments = page[5], page[14:18], page[26]
        position += 27 + segments + sum(page[27 : 27 + segments])
        if position > size:
            return "cut off"
        if flags & _OGG_BEGINS:
            if has_data:
                return "joined"
            going_on.add(serial)
        has_data = has_data or not flags & _OGG_BEGINS
        if flags & _OGG_ENDS:
            going_on.discard(serial)
    return "cut off" if going_on else "whole"


def _of_flac(read: Read, start: int) -> Extent:
    """Judge by the beginnings alone: libsndfile notices that the end is missing."""
    if _find(read, _FLAC, start + 4) is not None:
        return "joined"
    total = int.from_bytes(read(start + 21, 5), "big") & 0xF_FFFF_FFFF
    return "whole" if total else "unknown"


def _of_mpeg(read: Read, size: int, start: int, heard: int | None) -> Extent:
    """Count the frames: those that a Xing header announces are read.

    Without such a header, as many samples are read as libsndfile estimates: of a
    variable bit rate perhaps half of them.
    """
    announced: int | None = None
    count, samples, is_partial = 0, 0, False
    for position, length, beginning in _frames(read, start):
        if position + length > size:
            is_partial = True
            break
        if xing := _XING.search(beginning):
            if announced is not None:
                return "joined"
            if count == 0:
                tag = beginning[xing.end() : xing.end() + 4]
                announced = int.from_bytes(tag, "big")
                continue
        count += 1
        samples += _frame_samples(beginning)
    if announced is None:
        if heard is not None and heard < samples - _CODEC_DELAY:
            return "joined"
        return "cut off" if is_partial else "unknown"
    # Some programs count the frame of the header itself.
    missing = announced - count
    if missing > 1 or (missing == 1 and is_partial):
        return "cut off"
    return "joined" if missing < -1 else "whole"


def _frames(read: Read, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Return position, length and first bytes of each frame of MPEG audio."""
    while True:
        beginning = read(position, _XING_BYTES)
        if length := _frame_bytes(beginning):
            yield position, length, beginning
            position += length
        elif tag := _id3_bytes(beginning):
            position += tag
        elif (found := _next_frame(read, position)) is not None:
            position = found
        else:
            return


def _next_frame(read: Read, begin: int) -> int | None:
    """Position of the next two frames in a row, behind damage or a tag."""
    for start in range(begin, begin + _RESYNC_BYTES, _RESYNC_STEP):
        data = read(start, _RESYNC_STEP + 3)
        for match in _SYNC.finditer(data):
            position = start + match.start()
            length = _frame_bytes(data[match.start() : match.start() + 4])
            if length and _frame_bytes(read(position + length, 4)):
                return position
    return None


def _frame_bytes(header: bytes) -> int:
    """Length of a frame of layer 2 or 3 by its header; 0: it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3  # 3: MPEG 1, 2: 2, 0: 2.5
    kbits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer not in _KBITS or kbits in (0, 15) or rate == 3:
        return 0
    is_first = version == 3
    kbit = (_KBITS[layer] if is_first else _KBITS_OF_MPEG_2)[kbits - 1]
    slots = 144_000 if is_first or layer == _LAYER_2 else 72_000
    divisor = {3: 1, 2: 2, 0: 4}[version]
    return slots * kbit // (_RATES[rate] // divisor) + padding


def _frame_samples(header: bytes) -> int:
    is_short = header[1] >> 3 & 3 != 3 and header[1] >> 1 & 3 == _LAYER_3
    return 576 if is_short else 1152


def _id3_bytes(header: bytes) -> int:
    """Length of an ID3v2 tag with its header; 0: it is none."""
    if header[:3] != b"ID3" or len(header) < 10:
        return 0
    length = 0
    for byte in header[6:10]:
        length = length << 7 | byte & 0x7F
    return 10 + length


def _find(read: Read, pattern: re.Pattern[bytes], position: int) -> int | None:
    """Position of the next match, which has eight bytes at most."""
    while data := read(position, _BLOCK_BYTES):
        if match := pattern.search(data):
            return position + match.start()
        if len(data) < _BLOCK_BYTES:
            break
        position += len(data) - 8
    return None
