"""The screen: the live console on a terminal, else a line for each record."""

import logging
import sys
from collections.abc import Mapping, Sequence

from monitor.clock import Clock
from monitor.detection.rules import LabelRule
from monitor.model.models import Models
from monitor.output import Output
from monitor.sinks.console.plain import PlainConsole
from monitor.sinks.sink import Sink


def build_screen(
    sources: Sequence[str],
    models: Models,
    rules: Mapping[str, LabelRule],
    clock: Clock,
    output: Output | None,
) -> Sink:
    """Build the sink that shows what is heard; a terminal shows the log lines too.

    Args:
        sources: Names of the sources.
        models: The models in use.
        rules: The detection rule of each label.
        clock: Clock of the monitor.
        output: Standard output, handed over; None: it is written at once.
    """
    plain = PlainConsole(sys.stdout, clock.utc)
    if not sys.stdout.isatty():  # a service does without rich
        return plain
    from rich.console import Console

    from monitor.sinks.console.live import LiveConsole, can_show

    console = Console()
    if not can_show(console):
        return plain
    live = LiveConsole(
        console,
        sources=sources,
        labels=models.labels,
        sample_rate=models.spec.sample_rate,
        now=clock.monotonic,
        onset_thresholds={label: rule.onset_threshold for label, rule in rules.items()},
        title=models.name,
        output=None if output is None else output.out,
    )
    if output is not None:
        output.out.is_log = True
    logging.getLogger().handlers = [live.log_handler]
    return live
