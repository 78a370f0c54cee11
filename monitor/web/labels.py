"""The labels that can be chosen, as the models name them, and their names for people.

They are asked of `sound-monitor model --labels` once, in a process of its own: what
reads model files is larger than the whole page may be.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import monotonic

from monitor.errors import SoundMonitorError
from monitor.web.child_commands import output_of
from monitor.web.rendering import LANGUAGES, strings

TIME_LIMIT_SECONDS = 60.0
RETRY_SECONDS = 60.0
"""Pause after a failure; until then the labels of the database are left."""

RANKS = 10
"""Number of the colours of labels; style.css has them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """A label of a model."""

    label: str
    group: str | None
    """Label that reports it together with others."""

    text: str
    """A sentence on what it is, in English; empty: none."""


def label_rank(label: str) -> int:
    """Return which of the ten colours a label has, on every page and for good.

    It is the place among the labels that have a name; strings.js says the same.
    """
    place = _named_labels().get(label, sum(label.encode()))
    return place % RANKS


@cache
def _named_labels() -> Mapping[str, int]:
    """Return the labels that have a name, in the order of the models."""
    keys = (key.partition(".") for key in strings(LANGUAGES[0]))
    names = [label for section, _, label in keys if section == "labels"]
    return {label: place for place, label in enumerate(names)}


class KnownLabels:
    """The labels of the included models, read in the background.  Any thread.

    After a failure, which is logged once, they are read again.
    """

    def __init__(self) -> None:
        """Nothing is read before the first question."""
        self._lock = threading.Lock()
        self._is_read = threading.Event()
        self._thread: threading.Thread | None = None
        self._labels: Sequence[KnownLabel] = ()
        self._again_at = 0.0
        self._failures = 0

    def get(self, timeout_seconds: float) -> Sequence[KnownLabel]:
        """Return the labels; none, if they are not read in time."""
        with self._lock:
            if self._thread is None and monotonic() >= self._again_at:
                self._is_read.clear()
                self._thread = threading.Thread(
                    target=self._read, name="known-labels", daemon=True
                )
                self._thread.start()
        self._is_read.wait(timeout_seconds)
        return self._labels

    def members(self, name: str, timeout_seconds: float) -> list[str]:
        """Return a label and, if it is a group, the labels in it."""
        known = self.get(timeout_seconds)
        return [name, *(each.label for each in known if each.group == name)]

    def _read(self) -> None:
        try:
            command = output_of(
                "model", "--labels", "--json", seconds=TIME_LIMIT_SECONDS
            )
            self._labels = tuple(
                KnownLabel(str(each["label"]), each["group"], str(each["text"]))
                for each in json.loads(asyncio.run(command))["labels"]
            )
        except (SoundMonitorError, ValueError, LookupError, TypeError) as error:
            self._failures += 1
            if self._failures == 1:
                logger.warning(
                    "the labels of the models cannot be read: %s; "
                    "they are read again every %g s",
                    error,
                    RETRY_SECONDS,
                )
            with self._lock:
                self._again_at, self._thread = monotonic() + RETRY_SECONDS, None
        self._is_read.set()


@cache
def known_labels() -> KnownLabels:
    """Return the labels of this process."""
    return KnownLabels()
