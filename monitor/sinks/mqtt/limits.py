"""Limits of the messages to and from a broker, in bytes."""

import logging
import math

from monitor.sinks.mqtt.topics import is_topic

HEADER_BYTES = 20
"""More than a packet has beside topic and payload."""

MAX_WAITING_BYTES = 2**23
"""Bound on the messages that wait, whatever the broker sends; later ones are lost."""

MESSAGE_BYTES = 200
"""More than a message takes in memory beside topic and payload."""

logger = logging.getLogger(__name__)


class SentLimit:
    """The largest packet that a broker takes.  Used by one thread."""

    def __init__(self, target: str) -> None:
        """Begin without a limit; `target` is the broker, for the log."""
        self.most_bytes = math.inf
        self._target = target
        self._has_warned = False

    def takes(self, topic: str, payload: str | bytes) -> bool:
        """Return whether the broker takes a message; log the first that is too large.

        One of an invalid topic or that is too large would end the connection.
        """
        if not is_topic(topic):
            return False
        text = payload.encode() if isinstance(payload, str) else payload
        size = len(topic.encode()) + len(text) + HEADER_BYTES
        if size > self.most_bytes and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s takes messages of %d bytes at most: one of %d bytes at %s is not "
                "published, nor are others that are too large",
                self._target,
                self.most_bytes,
                size,
                topic,
            )
        return size <= self.most_bytes


class WaitingLimit:
    """Bounds the messages that wait.  Not thread-safe."""

    def __init__(self) -> None:
        """Begin with none that waits."""
        self._bytes = 0

    def takes(self, topic: str, text: str, *, is_retained: bool) -> bool:
        """Return whether one more may wait, and count it."""
        # What is retained leaves room for what is said now.
        most = MAX_WAITING_BYTES // (2 if is_retained else 1)
        size = len(topic) + len(text) + MESSAGE_BYTES
        if not is_topic(topic) or self._bytes + size > most:
            return False
        self._bytes += size
        return True
