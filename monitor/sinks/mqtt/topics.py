"""The MQTT topics of one monitor."""

from collections.abc import Sequence
from urllib.parse import quote, unquote

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"

MOST_LETTERS = 10_000
"""Limit of a topic, far from that of the protocol: 65,535 bytes."""


class Topics:
    """The topics of one monitor, which begin with the same words."""

    def __init__(self, prefix: str) -> None:
        """Begin every topic with `prefix`."""
        self.prefix = prefix
        self.availability = f"{prefix}/availability"
        """Availability of the monitor: online or offline."""

        self.installation = f"{prefix}/installation"
        """Id of the installation that has the prefix."""

        self.who_holds = f"{self.installation}/get"
        """A message here is answered by the installation that has the prefix."""

        self.trouble = f"{prefix}/problem"
        """Problem of the monitor or of any source: ON or OFF."""

        self.mute = f"{prefix}/mute"
        """Mute of the alerts: ON while every rule is muted, else OFF."""

    def source_availability(self, source: str) -> str:
        """Availability of a source: online while it is listened to, else offline."""
        return f"{self.prefix}/{source}/availability"

    def label(self, source: str, label: str) -> str:
        """State of a label: ON from its onset to its event, else OFF."""
        return f"{self.prefix}/{source}/label/{_level(label)}"

    @property
    def every_label(self) -> str:
        """A filter for the states of all labels of all sources."""
        return f"{self.prefix}/+/label/+"

    def began(self, source: str) -> str:
        """Onsets, JSON, not retained."""
        return f"{self.prefix}/{source}/began"

    def ended(self, source: str) -> str:
        """Events, JSON, not retained."""
        return f"{self.prefix}/{source}/ended"

    def last(self, source: str) -> str:
        """Label of the latest onset."""
        return f"{self.prefix}/{source}/last"

    def today(self, source: str) -> str:
        """Number of the events that began today, JSON."""
        return f"{self.prefix}/{source}/today"

    def level(self, source: str) -> str:
        """Mean level of the latest seconds, dBFS."""
        return f"{self.prefix}/{source}/level"

    def laeq(self, source: str) -> str:
        """A-weighted level of the same seconds, dB."""
        return f"{self.prefix}/{source}/laeq"

    def health(self, source: str) -> str:
        """State, problems and losses of the source, JSON."""
        return f"{self.prefix}/{source}/health"

    def problem(self, source: str) -> str:
        """Problem of a source: ON or OFF."""
        return f"{self.prefix}/{source}/problem"

    def picture(self, source: str) -> str:
        """Spectrogram of the latest clip, PNG, not retained."""
        return f"{self.prefix}/{source}/picture"

    def sensitivity(self, label: str) -> str:
        """Sensitivity of a label, 0 to 1."""
        return f"{self.prefix}/label/{_level(label)}/sensitivity"

    @property
    def every_request(self) -> tuple[str, str]:
        """Filters for the requests to mute, and to change a sensitivity."""
        return request(self.mute), request(f"{self.prefix}/label/+/sensitivity")

    def label_of_request(self, topic: str) -> str | None:
        """Label whose sensitivity a request is to change; None: to mute."""
        if topic == request(self.mute):
            return None
        return unquote(topic.removeprefix(f"{self.prefix}/label/").split("/")[0])

    def of(self, source: str, labels: Sequence[str]) -> list[str]:
        """Return all topics of a source that are retained."""
        return [
            self.source_availability(source),
            self.last(source),
            self.today(source),
            self.level(source),
            self.laeq(source),
            self.health(source),
            self.problem(source),
            *(self.label(source, label) for label in labels),
        ]

    def of_monitor(self, labels: Sequence[str]) -> list[str]:
        """Return all topics of the monitor that are retained."""
        return [
            self.installation,
            self.availability,
            self.trouble,
            self.mute,
            *(self.sensitivity(label) for label in labels),
        ]


def is_topic(text: str) -> bool:
    """Whether a broker takes messages at it: no wildcard, and not too long."""
    return (
        text.isprintable() and 0 < len(text) <= MOST_LETTERS and not {*"+#"} & {*text}
    )


def request(topic: str) -> str:
    """Topic on which a change of the state at `topic` is asked for."""
    return f"{topic}/set"


def _level(label: str) -> str:
    """A label as a level of a topic: / + # have a meaning there."""
    return quote(label, safe="")
