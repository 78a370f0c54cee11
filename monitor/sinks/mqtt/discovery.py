"""The MQTT topics, and their description for Home Assistant."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from monitor import __version__

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"


class Topics:
    """The topics of one monitor, which begin with the same words."""

    def __init__(self, prefix: str) -> None:
        """Begin every topic with `prefix`."""
        self.prefix = prefix
        self.availability = f"{prefix}/availability"
        """Availability of the monitor: online or offline."""

        self.installation = f"{prefix}/installation"
        """Id of the installation that has the prefix."""

    def source_availability(self, source: str) -> str:
        """Availability of a source: online while it is listened to, else offline."""
        return f"{self.prefix}/{source}/availability"

    def label(self, source: str, label: str) -> str:
        """State of a label: ON from its onset to its event, else OFF."""
        # A label may hold any character; / + # have a meaning in a topic.
        return f"{self.prefix}/{source}/label/{quote(label, safe='')}"

    @property
    def every_label(self) -> str:
        """A filter for the states of all labels of all sources."""
        return f"{self.prefix}/+/label/+"

    def level(self, source: str) -> str:
        """Mean level of the latest seconds, dBFS."""
        return f"{self.prefix}/{source}/level"

    def health(self, source: str) -> str:
        """State, problems and losses of the source, JSON."""
        return f"{self.prefix}/{source}/health"

    def problem(self, source: str) -> str:
        """Problem of a source: ON or OFF."""
        return f"{self.prefix}/{source}/problem"

    def of(self, source: str, labels: Sequence[str]) -> list[str]:
        """Return all topics of a source."""
        return [
            self.source_availability(source),
            self.level(source),
            self.health(source),
            self.problem(source),
            *(self.label(source, label) for label in labels),
        ]


def discovery_topic(prefix: str, installation: str, source: str) -> str:
    """Topic of the description of a source; `prefix` is that of Home Assistant."""
    return f"{prefix}/device/{_device(installation, source)}/config"


def discovery(
    topics: Topics, installation: str, model: str, source: str, labels: Sequence[str]
) -> dict[str, Any]:
    """Describe a source as a device with its sensors, to Home Assistant.

    After https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload.
    """
    device = _device(installation, source)
    components = {
        key: {"uniq_id": f"{device}_{key}", **facts}
        for key, facts in _sensors(topics, source, labels)
    }
    return {
        "dev": {
            "ids": [device],
            "name": f"Sound monitor {source}",
            "mf": "sound-monitor",
            "mdl": f"Model {model}",
            "sw": __version__,
        },
        "o": {"name": "sound-monitor", "sw": __version__},
        "cmps": components,
    }


def _sensors(
    topics: Topics, source: str, labels: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and facts of every sensor of a source."""
    monitor = {"t": topics.availability}
    while_listening = {
        "avty": [monitor, {"t": topics.source_availability(source)}],
        "avty_mode": "all",
    }
    diagnostic = {
        "json_attr_t": topics.health(source),
        "ent_cat": "diagnostic",
        "avty": [monitor],
    }

    def sensor(platform: str, name: str, topic: str) -> dict[str, Any]:
        entity = f"{platform}.{_slug('sound_monitor', source, name)}"
        facts = {"p": platform, "name": name, "def_ent_id": entity, "stat_t": topic}
        if platform == "binary_sensor":
            facts |= {"pl_on": ON, "pl_off": OFF}
        return facts

    for label in labels:
        topic = topics.label(source, label)
        facts = sensor("binary_sensor", spoken(label), topic)
        yield (
            f"label_{_identifier(label)}",
            facts | {"dev_cla": "sound"} | while_listening,
        )
    level = {"unit_of_meas": "dB", "stat_cla": "measurement", "ic": "mdi:volume-high"}
    yield (
        "level",
        sensor("sensor", "Level", topics.level(source)) | level | while_listening,
    )
    health = {"val_tpl": "{{ value_json.state }}", "ic": "mdi:heart-pulse"}
    yield (
        "health",
        sensor("sensor", "Health", topics.health(source)) | health | diagnostic,
    )
    problem = sensor("binary_sensor", "Microphone problem", topics.problem(source))
    yield "problem", problem | {"dev_cla": "problem"} | diagnostic


def former_discovery(prefix: str, topic: str, source: str, label: str) -> list[str]:
    """Discovery topics of versions that described each sensor on its own."""
    device = _identifier(topic, source)
    return [
        f"{prefix}/{component}/{device}/{device}_{_identifier(name)}/config"
        for component, name in (
            ("binary_sensor", label),
            ("sensor", "Level"),
            ("sensor", "Health"),
            ("binary_sensor", "Microphone problem"),
        )
    ]


def spoken(label: str) -> str:
    """Write a label as people do: Air conditioner for air_conditioner."""
    words = " ".join(label.replace("_", " ").split()) or label
    return words[0].upper() + words[1:]


def _device(installation: str, source: str) -> str:
    return f"sound-monitor-{installation}-{_identifier(source)}"


def _slug(*names: str) -> str:
    """Lower-case ASCII letters, digits and _ only, as in the ids of entities."""
    text = unicodedata.normalize("NFKD", "_".join(names)).encode("ascii", "ignore")
    return re.sub(r"[^a-z0-9]+", "_", text.decode().lower()).strip("_")


def _identifier(*names: str) -> str:
    """Letters, digits, _ and - only; different names have different identifiers."""
    text = "_".join(names)
    clean = re.sub(r"[^A-Za-z0-9-]+", "_", text)
    if clean == text and len(names) == 1:
        return clean
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:8]
    return f"{clean}_{digest}"
