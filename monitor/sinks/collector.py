"""A sink that keeps everything, for recordings that are analysed as a whole."""

from collections.abc import Sequence

from monitor.records import Statistics, Timed


class Collector:
    """Keeps the records that it gets, in order."""

    def __init__(self) -> None:
        self.records: list[Timed] = []

    def write(self, batch: Sequence[Timed]) -> None:
        """Keep the records of `batch`."""
        self.records += batch

    def report(self, _: Statistics) -> None:
        """Ignore how the monitor is doing."""

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is no file."""
