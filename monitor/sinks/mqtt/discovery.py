"""The MQTT topics, and their description for Home Assistant."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from monitor import __version__
from monitor.config.outputs import MqttSettings
from monitor.sinks.mqtt.connection import Message

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"


class Topics:
    """The topics of one monitor, which begin with the same words."""

    def __init__(self, base: str) -> None:
        """Begin every topic with `base`."""
        self._base = base
        self.availability = f"{base}/availability"
        """Availability of the monitor: online or offline."""

    def source_availability(self, source: str) -> str:
        """Availability of a source: online while it is listened to, else offline."""
        return f"{self._base}/{source}/availability"

    def label(self, source: str, label: str) -> str:
        """State of a label: ON from its onset to its event, else OFF."""
        # A label may hold any character; / + # have a meaning in a topic.
        return f"{self._base}/{source}/label/{quote(label, safe='')}"

    def level(self, source: str) -> str:
        """Mean level of the latest seconds, dBFS."""
        return f"{self._base}/{source}/level"

    def health(self, source: str) -> str:
        """State, problems and losses of the source, JSON."""
        return f"{self._base}/{source}/health"

    def problem(self, source: str) -> str:
        """Problem of a source: ON or OFF."""
        return f"{self._base}/{source}/problem"


def discovery(
    settings: MqttSettings, sources: Sequence[str], labels: Sequence[str]
) -> list[Message]:
    """Describe a device for each source, and its sensors, to Home Assistant.

    After https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
    """
    if settings.discovery_prefix is None:
        return []
    messages = []
    for source in sources:
        device = _identifier(settings.topic, source)
        for component, name, facts in _sensors(settings, source, labels):
            unique = f"{device}_{_identifier(name)}"
            topic = f"{settings.discovery_prefix}/{component}/{device}/{unique}/config"
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
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Component of Home Assistant, name and facts of every sensor of a source."""
    topics = Topics(settings.topic)
    monitor = {"topic": topics.availability}
    while_listening = {
        "availability": [monitor, {"topic": topics.source_availability(source)}],
        "availability_mode": "all",
    }
    diagnostic = {
        "json_attributes_topic": topics.health(source),
        "entity_category": "diagnostic",
        "availability": [monitor],
    }
    binary = {"payload_on": ON, "payload_off": OFF}
    for label in labels:
        topic = {"state_topic": topics.label(source, label)}
        sound = {"device_class": "sound"}
        yield "binary_sensor", label, topic | binary | sound | while_listening
    level = {
        "state_topic": topics.level(source),
        "unit_of_measurement": "dB",
        "state_class": "measurement",
        "icon": "mdi:volume-high",
    }
    health = {
        "state_topic": topics.health(source),
        "value_template": "{{ value_json.state }}",
        "icon": "mdi:heart-pulse",
    }
    problem = {"state_topic": topics.problem(source), "device_class": "problem"}
    yield "sensor", "Level", level | while_listening
    yield "sensor", "Health", health | diagnostic
    yield "binary_sensor", "Microphone problem", problem | binary | diagnostic


def _identifier(*names: str) -> str:
    """Letters, digits, _ and - only; different names have different identifiers."""
    text = "_".join(names)
    clean = re.sub(r"[^A-Za-z0-9-]+", "_", text)
    if clean == text and len(names) == 1:
        return clean
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:8]
    return f"{clean}_{digest}"
