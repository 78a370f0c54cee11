"""Overload: how much of what is due is analysed when there is no time for all of it."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LATE_HOPS = 2
"""Work that takes longer than so many hops is not begun: windows are left out."""

MOST_WINDOWS = 32
"""Windows that are analysed together.  The records of these sources are written then,
before the other sources are analysed."""

_STEPS = 3
"""Steps whose cost counts.  The cheapest of them does: one step that was held up, by a
machine that slept or another program, says nothing about the next ones."""


_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Turn:
    """Sources that are analysed together."""

    sources: Sequence[str]
    most_windows: int | None
    """The newest windows of each source that are scored; None: all of them."""


class LoadShedding:
    """Divides what is due into turns, none of which takes long.  Used by one thread.

    After a pause, everything that can be caught up on within `LATE_HOPS` hops is
    analysed.  When there is more, each source goes on at its newest windows, as many as
    there is time for, and none waits for its turn for longer than a round of all.
    """

    def __init__(self) -> None:
        """Begin without an idea of what a window costs: the first step takes all."""
        self._computed_seconds: deque[float] = deque(maxlen=_STEPS)
        self._quiet_seconds: deque[float] = deque(maxlen=_STEPS)
        self._computed_share: dict[str, float] = {}

    def add_turn(
        self, seconds: float, windows: Mapping[str, int], computed: Mapping[str, int]
    ) -> None:
        """Count the time of a turn.

        Args:
            seconds: What it took.
            windows: Windows by source, also those below the level gate.
            computed: Those for which the network ran; a source may be missing.
        """
        total, ran = sum(windows.values()), sum(computed.values())
        if ran:
            rest = (total - ran) * min(self._quiet_seconds, default=0.0)
            self._computed_seconds.append(max(0.0, seconds - rest) / ran)
        elif total:
            self._quiet_seconds.append(seconds / total)
        for name, count in windows.items():
            self._computed_share[name] = computed.get(name, 0) / count

    def turns(self, due: Mapping[str, int], hop_seconds: float) -> list[Turn]:
        """Divide the sources that are due.

        Args:
            due: Windows that are due by source.
            hop_seconds: Time from one window to the next.
        """
        late = LATE_HOPS * hop_seconds
        costs = {name: self._window_seconds(name) for name in due}
        if sum(costs[name] * count for name, count in due.items()) <= late:
            return whole_turns(due)
        late *= 1 + _ROUNDING
        most = max(1, int(late / sum(costs.values())))
        turns: list[list[str]] = []
        spent = 0.0
        for name, seconds in costs.items():
            spent += most * seconds
            if not turns or spent > late:
                turns.append([])
                spent = most * seconds
            turns[-1].append(name)
        return [Turn(names, most) for names in turns]

    def _window_seconds(self, source: str) -> float:
        """Time for a window of a source that stays as loud as in its latest turn."""
        quiet = min(self._quiet_seconds, default=0.0)
        computed = min(self._computed_seconds, default=0.0)
        return quiet + self._computed_share.get(source, 1.0) * computed


def whole_turns(due: Mapping[str, int]) -> list[Turn]:
    """Divide what is due without leaving out a window, in short turns.

    Args:
        due: Windows that are due by source.
    """
    turns: list[list[str]] = []
    windows = 0
    for name, count in due.items():
        if not turns or windows + count > MOST_WINDOWS:
            turns.append([])
            windows = 0
        turns[-1].append(name)
        windows += count
    return [Turn(names, None) for names in turns]
