"""Any number of channels, made into one or two; a dead one of two is left out."""

import logging

import numpy as np

from monitor.audio.ring import Samples

_LOG = logging.getLogger(__name__)

_CELL_SECONDS = 0.5
"""Channels are compared over stretches of this length."""

_CELLS_UNTIL_DEAD = 6
_CELLS_UNTIL_ALIVE = 2

_DEAD_DB = -50.0
"""Below this level re the other one a channel is dead: crosstalk of an open input."""

_ALIVE_DB = -40.0
"""Above this level re the other one it lives; higher, so that it does not flap."""

_FAINT_DBFS = -80.0
"""Below this level the louder channel says nothing about the other one."""


def adapt(block: Samples) -> Samples:
    """Keep one or two channels: of more than two, the first two.

    What the others carry is unknown: loudspeaker feedback, a second array, nothing.

    Args:
        block: float32, shape (channels, n).

    Returns:
        A view of the same samples, shape (1 or 2, n).
    """
    return block[:2]


class DeadChannelGuard:
    """Replaces a dead channel of a stereo stream by the living one.

    A microphone of one capsule behind a stereo plug delivers one silent channel, which
    a network trained on two would take for a strange room.  A channel is dead that has
    stayed 50 dB below the other for three seconds, and lives again when it has come
    within 40 dB of it for one.  The channels are compared over stretches of half a
    second, counted from the first sample: what comes out does not depend on the sizes
    of the blocks, nor does any sample wait for its stretch to be over.  A stretch in
    which both are silent changes nothing.  Not thread-safe.
    """

    def __init__(self, sample_rate: int, source: str = "") -> None:
        """Begin a stream; `source` is its name for the log."""
        self._cell = np.zeros((2, round(_CELL_SECONDS * sample_rate)), np.float32)
        self._filled = 0
        self._dead: int | None = None
        self._suspect = 0
        self._streak = 0
        self._source = source

    @property
    def dead(self) -> int | None:
        """The channel that is left out now, if any."""
        return self._dead

    def push(self, block: Samples) -> Samples:
        """Take the samples that follow; return as many, of channels that live.

        Args:
            block: float32, shape (1 or 2, n), finite.

        Returns:
            float32, shape (1 or 2, n): `block` itself when no channel is dead.
        """
        if block.shape[0] == 1:
            return block
        output = block
        start = 0
        while start < block.shape[1]:
            count = min(block.shape[1] - start, self._cell.shape[1] - self._filled)
            if self._dead is not None:
                output = block.copy() if output is block else output
                part = slice(start, start + count)
                output[self._dead, part] = block[1 - self._dead, part]
            self._compare(block[:, start : start + count])
            start += count
        return output

    def _compare(self, part: Samples) -> None:
        """Collect samples that do not reach beyond the cell; judge it when it is full.

        The cell is kept, not its energy so far: a sum in other pieces is rounded
        otherwise, and the verdict would depend on the sizes of the blocks.
        """
        stop = self._filled + part.shape[1]
        self._cell[:, self._filled : stop] = part
        self._filled = stop % self._cell.shape[1]
        if self._filled == 0:
            power = np.mean(np.square(self._cell, dtype=np.float64), axis=1)
            levels = 10 * np.log10(power + 1e-30)  # digital silence: -300 dB
            if levels.max() >= _FAINT_DBFS:
                self._judge(float(levels[1] - levels[0]))

    def _judge(self, difference_db: float) -> None:
        """Count the cells that speak for a change; `difference_db` is right re left."""
        if self._dead is None:
            quieter = int(difference_db < 0)
            if quieter != self._suspect:
                self._suspect, self._streak = quieter, 0
            speaks_for_change = -abs(difference_db) <= _DEAD_DB
            needed = _CELLS_UNTIL_DEAD
        else:
            level_db = difference_db if self._dead == 1 else -difference_db
            speaks_for_change = level_db >= _ALIVE_DB
            needed = _CELLS_UNTIL_ALIVE
        self._streak = self._streak + 1 if speaks_for_change else 0
        if self._streak == needed:
            self._streak = 0
            self._dead = self._suspect if self._dead is None else None
            self._tell()

    def _tell(self) -> None:
        channel = self._suspect + 1
        if self._dead is None:
            _LOG.warning(
                "source %r: channel %d is back; both are heard again",
                self._source,
                channel,
            )
        else:
            _LOG.warning(
                "source %r: channel %d is dead (over %.0f dB below the other "
                "for %.1f s); it is left out",
                self._source,
                channel,
                -_DEAD_DB,
                _CELLS_UNTIL_DEAD * _CELL_SECONDS,
            )
