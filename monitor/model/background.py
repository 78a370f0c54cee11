"""The background of a source: its embedding some seconds before a window.

A network that knows it hears what has changed.  Positions are first frames of windows,
so a recording has the backgrounds of a live stream, whatever the blocks.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from monitor.spec import ModelSpec

Array = NDArray[np.float32]


class Background:
    """Embeddings of the windows of one source, and their mean some seconds ago.

    While something sounds, its windows do not become background, and the mean stays
    what it was when the sound was noticed.  Both end after a time, so that a sound that
    lasts becomes background.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Begin without any; `spec` has a background."""
        rules = spec.background
        assert rules is not None
        self.newest_frames = spec.frames(rules.newest_seconds)
        """From the newest window of the background to the one after it."""

        self._oldest_frames = spec.frames(rules.oldest_seconds)
        self._longest_hold = spec.frames(rules.longest_hold_seconds)
        self._hold_score = rules.hold_score
        self._known: deque[tuple[int, Array]] = deque()
        self._mean: Array | None = None
        self._newest_in_mean = -1
        self._latest: int | None = None
        self._held_since: int | None = None

    def before(self, first_frame: int) -> Array | None:
        """Return the background of a window.

        It is the mean of the known windows between `oldest_seconds` and
        `newest_seconds` before.  The mean is kept while something sounds, and where no
        window has become old enough since; until `longest_hold_seconds` after its
        newest window became too old.

        Args:
            first_frame: Absolute index of the first frame, not below earlier ones.

        Returns:
            float32, shape (features,); None: there is none.
        """
        if self._mean is None or not self._is_held(first_frame):
            self._renew(first_frame)
        kept_until = self._newest_in_mean + self._oldest_frames + self._longest_hold
        if first_frame > kept_until:
            self._mean = None
        return self._mean

    def add(self, first_frame: int, embedding: Array, scores: Array) -> None:
        """Take a window, which becomes known unless something sounds in it.

        Args:
            first_frame: Absolute index of its first frame.
            embedding: float32, shape (features,).
            scores: Shape (labels,).
        """
        if self._latest is not None and first_frame <= self._latest:
            return  # the same window again
        self._latest = first_frame
        if scores.max() < self._hold_score:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = first_frame
        if not self._is_held(first_frame):
            self._known.append((first_frame, embedding))

    def end_hold(self) -> None:
        """Note that a window was silent: what sounds next has just begun."""
        self._held_since = None

    def _is_held(self, first_frame: int) -> bool:
        """Whether something sounds, and has not lasted too long."""
        since = self._held_since
        return since is not None and first_frame - since < self._longest_hold

    def _renew(self, first_frame: int) -> None:
        """Take the mean anew, unless it would only lose its oldest windows."""
        oldest = first_frame - self._oldest_frames
        while self._known and self._known[0][0] < oldest:
            self._known.popleft()
        newest = first_frame - self.newest_frames
        chosen = [each for each in self._known if each[0] <= newest]
        if chosen and chosen[-1][0] > self._newest_in_mean:
            # numpy's mean of a list takes twice as long.
            total = sum((each for _, each in chosen[1:]), start=chosen[0][1])
            self._mean = total / np.float32(len(chosen))
            self._newest_in_mean = chosen[-1][0]
