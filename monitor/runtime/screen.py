"""The screen: the live console on a terminal, else a line for each record."""

import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monitor.audio.columns import band_centres
from monitor.audio.timeline import Timeline
from monitor.audio.timeline_columns import TimelineColumns
from monitor.clock import Clock
from monitor.config.config import Config
from monitor.detection.rules import LabelRule
from monitor.errors import StoreError
from monitor.model.models import Models
from monitor.output import Output
from monitor.records import Event, SourceState, Timed
from monitor.sinks.console.plain import PlainConsole
from monitor.sinks.sink import Sink
from monitor.sinks.status_snapshot import DaemonFacts
from monitor.text import cells, duration, position, printable

if TYPE_CHECKING:
    from monitor.sinks.console.live import LiveConsole
    from monitor.sinks.console.state import Setup

logger = logging.getLogger(__name__)

LISTED = 20
"""Events that the end lists."""

MOST_LABELS = 5
"""Labels whose events the end counts one by one, the most frequent."""


class Shown(NamedTuple):
    """What a configuration has to show."""

    config: Config
    state_dir: Path
    models: Models
    rules: Mapping[str, LabelRule]
    reported: Mapping[str, Sequence[str]]
    """Labels that are reported, by source."""

    timelines: Mapping[str, Timeline]

    @property
    def database(self) -> Path | None:
        """The database; None: there is none."""
        path = self.config.store.path
        return None if path is None else self.state_dir / path


class Screen:
    """Standard output, under any configuration."""

    def __init__(self, facts: DaemonFacts | None = None) -> None:
        """Prepare; the display shows the page of these facts."""
        self._facts = facts or DaemonFacts()
        self._detected: DetectedEvents | None = None
        self._live: LiveConsole | None = None

    def sinks(
        self, shown: Shown, clock: Clock, output: Output | None
    ) -> Sequence[Sink]:
        """Return the sinks that show what is heard.

        A service does without rich, and so do pipes, terminals that cannot move their
        cursor, and users who set NO_COLOR: they get a line for each record.
        """
        if not sys.stdout.isatty():
            return [PlainConsole(sys.stdout, clock.utc)]
        if self._detected is None:
            self._detected = DetectedEvents(clock)
        self._detected.shown = shown
        if not can_show(os.environ):
            return [PlainConsole(sys.stdout, clock.utc), self._detected]
        if self._live is None:
            self._live = _live(shown, clock, output, self._facts)
        else:
            self._live.renew(_setup(shown))
        return [self._live, self._detected]

    def close(self) -> None:
        """Give the terminal back.  Main thread."""
        if self._live is not None:
            self._live.end()

    def say_end(self) -> None:
        """Say on a terminal what was detected, and how to ask for more."""
        if self._detected is not None:
            for line in self._detected.sentences():
                sys.stdout.write(printable(line) + "\n")


def can_show(environ: Mapping[str, str]) -> bool:
    """Return True if a terminal with these variables is for a live display."""
    is_dumb = environ.get("TERM", "").lower() in ("dumb", "unknown")
    return not (is_dumb or environ.get("NO_COLOR"))


def _setup(shown: Shown) -> "Setup":
    from monitor.sinks.console.state import Setup

    rate = shown.models.spec.sample_rate
    return Setup(
        title=shown.models.name,
        labels=shown.models.labels,
        reported=shown.reported,
        sample_rate=rate,
        thresholds={name: rule.onset_threshold for name, rule in shown.rules.items()},
        units=shown.config.weighted_units,
        columns={
            name: TimelineColumns(timeline)
            for name, timeline in shown.timelines.items()
            if name in shown.reported
        },
        band_hz=band_centres(rate),
    )


def _live(
    shown: Shown, clock: Clock, output: Output | None, facts: DaemonFacts
) -> "LiveConsole":
    from rich.color import ColorSystem
    from rich.console import Console

    from monitor.sinks.console.live import LiveConsole
    from monitor.sinks.console.paint import ASCII, UNICODE
    from monitor.sinks.console.terminal import Terminal

    console = Console()
    systems = {
        "standard": ColorSystem.STANDARD,
        "256": ColorSystem.EIGHT_BIT,
        "truecolor": ColorSystem.TRUECOLOR,
    }
    terminal = Terminal(sys.stdout, None if output is None else output.out, 0)
    if threading.current_thread() is threading.main_thread():
        terminal.take_signals()
    is_live = any(source.is_live for source in shown.config.sources)

    def count_before(until: datetime) -> Mapping[str, int] | None:
        return count_day(shown.database, until) if is_live else None

    return LiveConsole(
        terminal,
        _setup(shown),
        clock=clock,
        glyphs=ASCII if console.options.ascii_only else UNICODE,
        colours=systems.get(console.color_system or ""),
        count_before=count_before,
        page=lambda: facts.page or "",
        page_fault=lambda: facts.page_fault,
    )


def count_day(database: Path | None, until: datetime) -> Mapping[str, int] | None:
    """Count the events of each label from the start of the local day on."""
    from monitor.sinks.store.queries import open_to_read

    midnight = until.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if database is None:
        return None
    try:
        with open_to_read(database) as reader:
            found = reader.events(midnight, until)
            return Counter(
                timed.record.label  # type: ignore[union-attr]
                for timed in found
                if timed.start_utc is not None and timed.start_utc >= midnight
            )
    except StoreError as error:
        logger.info("the counts of the display begin now: %s", error)
        return None


class DetectedEvents(Sink):
    """Keeps what was detected since the start, for the end.

    The worker's thread writes; the main thread reads after it.
    """

    shown: Shown

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._counts: Counter[str] = Counter()
        self._first: list[Timed] = []
        self._ended: set[str] = set()

    def write(self, batch: Sequence[Timed]) -> None:
        """Keep the events of `batch`."""
        for timed in batch:
            record = timed.record
            if isinstance(record, SourceState):
                ended = {record.source}
                self._ended |= ended if record.state == "ended" else set()
            elif isinstance(record, Event):
                self._counts[record.label] += 1
                if len(self._first) < LISTED:
                    self._first.append(timed)

    def sentences(self) -> Iterator[str]:
        """Sum up what was detected."""
        sources = self.shown.config.sources
        is_demo = all(source.input == "demo:" for source in sources)
        seconds = self._clock.monotonic() - self._began
        total = self._counts.total()
        events = f"{total or 'no'} event{'s' * (total != 1)} detected"
        highest = self._counts.most_common(MOST_LABELS)
        labels = ", ".join(f"{name} {n}" for name, n in highest)
        if rest := total - sum(n for _, n in highest):
            labels += f", and {rest} more"
        if any(source.is_live for source in sources):
            yield f"Stopped after {duration(seconds)}: {events}" + (
                f" ({labels})." if labels else "."
            )
            if total and self.shown.database is not None:
                since = f"{int(seconds // 3600) + 1}h"
                yield f"'sound-monitor events --since {since}' lists them."
            return
        what = "The demo is over" if is_demo else "The recording is over"
        if any(source.name not in self._ended for source in sources):
            what = f"Stopped after {duration(seconds)}"
        yield f"{what}: {events}."
        yield ""
        yield from _table(self._first)
        if total > len(self._first):
            yield f"  and {total - len(self._first)} more"
        yield from [""] if total else []
        yield from _more(is_demo, self.shown.database is not None)


def _table(found: Sequence[Timed]) -> Iterator[str]:
    rows = []
    for timed in found:
        record = timed.record
        assert isinstance(record, Event)
        seconds = timed.end_seconds - timed.start_seconds
        rows.append((record, position(timed.start_seconds), duration(seconds)))
    width = max((cells(printable(record.label)) for record, *_ in rows), default=0)
    for record, start, lasted in rows:
        label = record.label + " " * (width - cells(printable(record.label)))
        yield f"  {start}  {label}  {lasted:>7}  score {record.peak_score:.2f}"


def _more(is_demo: bool, is_stored: bool) -> Iterator[str]:
    commands = []
    if is_demo:
        commands.append(("run", "the same with your microphone"))
        commands.append(("devices", "the microphones of this machine"))
        commands.append(("analyze FILE", "the events of a recording"))
    if is_stored:
        commands.append(("events --since 1h", "these events again, from the database"))
    commands.append(("--help", "everything else"))
    yield "More:"
    for command, words in commands:
        yield f"  {'sound-monitor ' + command:<34}{words}"
