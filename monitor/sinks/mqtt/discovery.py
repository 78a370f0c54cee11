"""Topics of what is heard, and how Home Assistant is told of them."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from monitor import __version__
from monitor.config.outputs import MqttSettings
from monitor.sinks.mqtt.connection import Message

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"


class Topics:
    """Names of all topics of one monitor; they begin alike."""

    def __init__(self, base: str) -> None:
        """Begin every topic with `base`."""
        self._base = base

    @property
    def availability(self) -> str:
        """Whether the monitor runs: online or offline."""
        return f"{self._base}/availability"

    def source_availability(self, source: str) -> str:
        """Whether the source is listened to: online or offline."""
        return f"{self._base}/{source}/availability"

    def label(self, source: str, label: str) -> str:
        """Whether the label is heard: ON or OFF."""
        # A label is whatever a folder was called; / + # have a meaning in a topic.
        return f"{self._base}/{source}/label/{quote(label, safe='')}"

    def level(self, source: str) -> str:
        """Level of the latest seconds, dBFS."""
        return f"{self._base}/{source}/level"

    def health(self, source: str) -> str:
        """State of the source, what is wrong with it and what was lost, JSON."""
        return f"{self._base}/{source}/health"

    def problem(self, source: str) -> str:
        """Whether something is wrong with the source: ON or OFF."""
        return f"{self._base}/{source}/problem"


def discovery(
    settings: MqttSettings, sources: Sequence[str], labels: Sequence[str]
) -> list[Message]:
    """What Home Assistant needs to know: a device for each source, and its sensors.

    After https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
    """
    if settings.discovery_prefix is None:
        return []
    messages = []
    for source in sources:
        for kind, name, facts in _sensors(settings, source, labels):
            device = _identifier(settings.topic, source)
            unique = f"{device}_{_identifier(name)}"
            topic = f"{settings.discovery_prefix}/{kind}/{device}/{unique}/config"
            payload = {
                "name": name,
                "unique_id": unique,
                "object_id": unique,
                **facts,
                "device": {
                    "identifiers": [device],
                    "name": f"Sound monitor {source}",
                    "manufacturer": "sound-monitor",
                    "sw_version": __version__,
                },
                "origin": {"name": "sound-monitor", "sw_version": __version__},
            }
            messages.append(Message(topic, json.dumps(payload), retain=True))
    return messages


def _sensors(
    settings: MqttSettings, source: str, labels: Sequence[str]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, name and facts of every sensor of a source."""
    topics = Topics(settings.topic)
    runs = {"topic": topics.availability}
    both = {
        "availability": [runs, {"topic": topics.source_availability(source)}],
        "availability_mode": "all",
    }
    sensors: list[tuple[str, str, dict[str, Any]]] = [
        (
            "binary_sensor",
            label,
            {
                "state_topic": topics.label(source, label),
                "payload_on": ON,
                "payload_off": OFF,
                "device_class": "sound",
                **both,
            },
        )
        for label in labels
    ]
    level = {
        "state_topic": topics.level(source),
        "unit_of_measurement": "dB",
        "state_class": "measurement",
        "icon": "mdi:volume-high",
        **both,
    }
    health = {
        "state_topic": topics.health(source),
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": topics.health(source),
        "entity_category": "diagnostic",
        "icon": "mdi:heart-pulse",
        "availability": [runs],
    }
    problem = {
        "state_topic": topics.problem(source),
        "payload_on": ON,
        "payload_off": OFF,
        "device_class": "problem",
        "json_attributes_topic": topics.health(source),
        "entity_category": "diagnostic",
        "availability": [runs],
    }
    return [
        *sensors,
        ("sensor", "Level", level),
        ("sensor", "Health", health),
        ("binary_sensor", "Microphone problem", problem),
    ]


def _identifier(*names: str) -> str:
    """Letters, digits, _ and - only; the same for the same names, and for no others."""
    text = "_".join(names)
    clean = re.sub(r"[^A-Za-z0-9-]+", "_", text)
    if clean == text and len(names) == 1:
        return clean
    mark = hashlib.sha256("\0".join(names).encode()).hexdigest()[:8]
    return f"{clean}_{mark}"
