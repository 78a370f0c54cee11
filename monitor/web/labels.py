"""The labels that can be chosen, as the models name them, and their names for people.

They are asked of `sound-monitor model --labels` once, in a process of its own: what
reads model files is larger than the whole page may be.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from monitor.web.rendering import strings

TIME_LIMIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """A label of a model."""

    label: str
    group: str | None
    """Label that reports it together with others."""

    text: str
    """A sentence on what it is, in English; empty: none."""


def label_text(language: str, label: str) -> str:
    """Return the name of a label in a language; unknown ones stay as they are."""
    return str(strings(language).get(f"labels.{label}", label))


class KnownLabels:
    """The labels of the included models, read in the background.  Any thread."""

    def __init__(self) -> None:
        """Nothing is read before the first question."""
        self._lock = threading.Lock()
        self._is_read = threading.Event()
        self._thread: threading.Thread | None = None
        self._labels: Sequence[KnownLabel] = ()

    def get(self, timeout_seconds: float) -> Sequence[KnownLabel]:
        """Return the labels; none, if they are not read in time."""
        with self._lock:
            if self._thread is None:
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
            answer = subprocess.run(
                [sys.executable, "-m", "monitor", "model", "--labels", "--json"],
                check=True,
                capture_output=True,
                timeout=TIME_LIMIT_SECONDS,
            )
            self._labels = tuple(
                KnownLabel(str(each["label"]), each["group"], str(each["text"]))
                for each in json.loads(answer.stdout)["labels"]
            )
        except (OSError, subprocess.SubprocessError, ValueError, LookupError):
            self._labels = ()  # the labels of the database are left
        self._is_read.set()


@cache
def known_labels() -> KnownLabels:
    """Return the labels of this process."""
    return KnownLabels()
