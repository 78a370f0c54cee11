"""A picture of a clip: its spectrogram as PNG, without axes."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from monitor.sinks.clips.clip import Samples

ROWS = 256
MOST_COLUMNS = 2000
LOWEST_HZ = 50.0
FFT_SAMPLES = 2048
STEP_SECONDS = 0.01
RANGE_DB = 80.0
_MARK = 255
"""The palette's last colour, for the lines at the ends of the event."""

# Dark to bright, as red, green and blue; what lies between is interpolated.
_COLOURS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))


def spectrogram(
    samples: Samples, sample_rate: int, event_start: int, event_stop: int
) -> bytes:
    """Draw the channels' mean power over time and frequency.

    A column is 10 ms or more, so that there are at most 2000; 256 rows go from 50 Hz at
    the bottom to half the sample rate at the top, each a constant ratio.  The colours
    span 80 dB below the loudest.  Two lines stand at the ends of the event.

    Args:
        samples: float32, shape (channels, n).
        sample_rate: Of the samples.
        event_start: Where the event begins in `samples`.
        event_stop: Where it ends.

    Returns:
        A PNG file.
    """
    count = samples.shape[1]
    step = max(round(STEP_SECONDS * sample_rate), -(-count // MOST_COLUMNS))
    decibels = _power_db(samples, sample_rate, step)  # (rows, columns)
    loudest = max(float(decibels.max()), -100.0)
    share = np.clip((decibels - loudest) / RANGE_DB + 1, 0, 1)
    image = np.round(share * (_MARK - 1)).astype(np.uint8)
    for sample in (event_start, event_stop):
        image[::2, min(max(0, sample // step), image.shape[1] - 1)] = _MARK
    return _png(image[::-1])


def _power_db(
    samples: Samples, sample_rate: int, step: int
) -> NDArray[np.float32]:  # (ROWS, columns)
    columns = max(1, -(-samples.shape[1] // step))
    padded = np.pad(samples, ((0, 0), (FFT_SAMPLES // 2, FFT_SAMPLES + step)))
    window = np.hanning(FFT_SAMPLES).astype(np.float32)
    bins = _bins(sample_rate)
    decibels = np.empty((ROWS, columns), np.float32)
    for column in range(columns):
        piece = padded[:, column * step : column * step + FFT_SAMPLES] * window
        power = (np.abs(np.fft.rfft(piece)) ** 2).mean(axis=0)  # (bins,)
        decibels[:, column] = 10 * np.log10(power[bins] + 1e-12)
    return decibels


def _bins(sample_rate: int) -> NDArray[np.int64]:
    """For each row from the bottom the bin of the Fourier transform that it shows."""
    hertz = np.geomspace(LOWEST_HZ, sample_rate / 2, ROWS)
    return np.round(hertz / sample_rate * FFT_SAMPLES).astype(np.int64)


def _png(image: NDArray[np.uint8]) -> bytes:
    """Encode palette indices, shape (rows, columns), the upper row first."""
    rows, columns = image.shape
    places = np.linspace(0, len(_COLOURS) - 1, _MARK)
    parts = np.array(_COLOURS, float).T
    palette = np.stack([np.interp(places, range(len(_COLOURS)), p) for p in parts], 1)
    colours = palette.astype(np.uint8).tobytes() + b"\x00\xff\xff"
    lines = np.pad(image, ((0, 0), (1, 0)))  # each begins with its filter, none
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
            (b"PLTE", colours),
            (b"IDAT", zlib.compress(lines.tobytes(), 6)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
