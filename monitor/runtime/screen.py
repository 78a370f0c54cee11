"""What a person sees: the live console, or plain lines."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from rich.console import Console

from monitor.config.config import Config
from monitor.model.classifier import Classifier
from monitor.runtime.assembly import rules_of
from monitor.runtime.clock import Clock
from monitor.sinks.console import LiveConsole, can_show
from monitor.sinks.plain import Plain


@contextlib.contextmanager
def open_screen(
    config: Config, classifier: Classifier, clock: Clock
) -> Iterator[Plain | LiveConsole]:
    """A live console on a terminal, which takes the log lines too; else plain lines."""
    console = Console()
    if not can_show(console):
        yield Plain(sys.stdout)
        return
    live = LiveConsole(
        console,
        sources=[source.name for source in config.sources],
        labels=classifier.labels,
        sample_rate=classifier.spec.sample_rate,
        now=clock.monotonic,
        onset_thresholds={
            label: rule.onset_threshold
            for label, rule in rules_of(config, classifier).items()
        },
        title=classifier.name,
    )
    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = [live.log_handler]
    try:
        yield live
    finally:
        live.close()
        root.handlers = handlers
