"""The newest samples of one source, addressed by absolute sample index."""

import numpy as np
from numpy.typing import NDArray

from monitor.errors import OverrunError

Samples = NDArray[np.float32]
"""float32, shape (channels, n), nominally in [-1, 1]."""

_FULL_SCALE = np.float32(2**15)


class Ring:
    """Holds the newest `capacity` samples for one writing and one reading thread.

    Neither ever waits for the other.  The writer announces which samples it is about
    to overwrite before it touches them, and the reader looks at the announcement
    before and after it copies: a copy into which the writer ran is thrown away.

    Samples take two bytes each for as long as all of them have 16 bits.  From the first
    one that has more (from a source of 24 bits, or a resampled one) all of them take
    four.  None is ever rounded.
    """

    def __init__(self, channels: int, capacity: int, start: int = 0) -> None:
        """Make room for `capacity` samples; the first one written is `start`."""
        self._samples: NDArray[np.int16 | np.float32]
        self._samples = np.zeros((channels, capacity), np.int16)
        self.capacity = capacity
        """Samples that it holds."""
        self.stop = start
        """Absolute index after the newest sample."""
        self._start = start
        self._announced = start

    @property
    def channels(self) -> int:
        """Channels of every block."""
        return len(self._samples)

    @property
    def oldest(self) -> int:
        """Absolute index of the oldest sample that can still be read."""
        return max(self._start, self._announced - self.capacity)

    def write(self, block: Samples) -> None:
        """Store one block.  Runs on the capture thread: announce, copy, count.

        Args:
            block: float32, shape (channels, n), any n; of a block that is larger than
                the ring the newest samples remain.

        Raises:
            ValueError: The block has another number of channels.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(
                f"a block of shape {block.shape} for a ring of {self.channels} channels"
            )
        self._announced = self.stop + block.shape[1]
        newest = self._encode(block[:, -self.capacity :])
        count = newest.shape[1]
        position, before_end = self._place(self._announced - count, count)
        self._samples[:, position : position + before_end] = newest[:, :before_end]
        self._samples[:, : count - before_end] = newest[:, before_end:]
        self.stop = self._announced

    def skip(self, count: int) -> None:
        """Advance by `count` samples that are lost.  Runs on the capture thread.

        In the ring they are silence, so that no older sound shows up in their place.
        """
        self._announced = self.stop + count
        cleared = min(count, self.capacity)
        position, before_end = self._place(self._announced - cleared, cleared)
        self._samples[:, position : position + before_end] = 0
        self._samples[:, : cleared - before_end] = 0
        self.stop = self._announced

    def read(self, start: int, count: int) -> Samples:
        """Copy `count` samples beginning at absolute index `start`.

        Returns:
            float32, shape (channels, count), contiguous.

        Raises:
            OverrunError: The oldest of them has been overwritten, or was while it was
                copied.  The caller has lost audio: say so with a Gap, then skip ahead.
            ValueError: The newest of them has not been written yet.
        """
        if start + count > self.stop:
            raise ValueError(f"samples up to {start + count} of {self.stop} asked for")
        self._require(start)
        samples = self._samples  # the writer may replace the array meanwhile
        copy = np.empty((self.channels, count), np.float32)
        position, before_end = self._place(start, count)
        copy[:, :before_end] = samples[:, position : position + before_end]
        copy[:, before_end:] = samples[:, : count - before_end]
        self._require(start)
        if samples.dtype == np.int16:
            copy /= _FULL_SCALE
        return copy

    def read_what_is_left(self, start: int, stop: int) -> tuple[int, Samples]:
        """Copy those of the samples [start, stop) that are still there.

        Returns:
            Index of the first sample, and float32 of shape (channels, n): n may be 0.
        """
        stop = min(stop, self.stop)
        while True:
            first = max(start, self.oldest)
            if first >= stop:
                return stop, np.zeros((self.channels, 0), np.float32)
            try:
                return first, self.read(first, stop - first)
            except OverrunError:
                # The writer goes on meanwhile: begin a little after its position.
                start = self.oldest + self.capacity // 32

    def _encode(self, block: Samples) -> NDArray[np.int16 | np.float32]:
        """Return `block` in the type of the array, which becomes float32 if it must."""
        if self._samples.dtype == np.float32:
            return block
        scaled = block * _FULL_SCALE
        with np.errstate(invalid="ignore"):  # out of range: differs as well
            integers = scaled.astype(np.int16)
        if (integers == scaled).all():
            return integers
        self._samples = self._samples / _FULL_SCALE
        return block

    def _require(self, start: int) -> None:
        if start < self.oldest:
            raise OverrunError(
                f"sample {start} has been overwritten; the oldest one is {self.oldest}"
            )

    def _place(self, start: int, count: int) -> tuple[int, int]:
        """Position of sample `start`, and how many of `count` fit before the end."""
        position = start % self.capacity
        return position, min(count, self.capacity - position)
