"""What a person sees: the live console, or plain lines."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

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
    live = LiveConsole(console, now=clock.monotonic, **_contents(config, classifier))
    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = [live.log_handler]
    try:
        yield live
    finally:
        live.close()
        root.handlers = handlers


def change_screen(
    screen: Plain | LiveConsole, config: Config, classifier: Classifier
) -> None:
    """Show another configuration or model.  Worker's thread."""
    if isinstance(screen, LiveConsole):
        screen.change(**_contents(config, classifier))


def _contents(config: Config, classifier: Classifier) -> "_Contents":
    rules = rules_of(config, classifier)
    return {
        "sources": [source.name for source in config.sources],
        "labels": classifier.labels,
        "sample_rate": classifier.spec.sample_rate,
        "onset_thresholds": {
            label: rule.onset_threshold for label, rule in rules.items()
        },
        "title": classifier.name,
    }


class _Contents(TypedDict):
    sources: Sequence[str]
    labels: Sequence[str]
    sample_rate: int
    onset_thresholds: Mapping[str, float]
    title: str
