"""The description of a monitor and its sources for Home Assistant."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor import __version__
from monitor.sinks.mqtt.topics import OFF, OFFLINE, ON, ONLINE, Topics, request

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Described:
    """What is described to Home Assistant."""

    installation: str
    model: str
    labels: Mapping[str, Sequence[str]]
    """By source, the labels that are reported."""

    calibrated: Collection[str]
    """Sources whose A-weighted levels are dB re 20 µPa, not re full scale."""

    counts: bool
    """Events are counted: there is a database."""

    pictures: bool
    """Spectrograms of clips are published."""

    requests: Collection[str]
    """What may be changed: mute, sensitivity."""

    page: str | None
    """Address of the web page."""


def discovery_topic(prefix: str, installation: str, source: str | None = None) -> str:
    """Topic of the description of a source, or of the monitor.

    `prefix` is that of Home Assistant.
    """
    return f"{prefix}/device/{_device(installation, source)}/config"


def describe_source(topics: Topics, described: Described, source: str) -> Facts:
    """Describe a source as a device with its sensors, behind that of the monitor.

    After https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload.
    """
    facts = _device_facts(described, source, f"Sound monitor {source}")
    facts["via_device"] = _device(described.installation, None)
    return _description(facts, _source_entities(topics, described, source))


def describe_monitor(topics: Topics, described: Described) -> Facts:
    """Describe the monitor as the device that the sources are behind."""
    facts = _device_facts(described, None, "Sound monitor")
    return _description(facts, _monitor_entities(topics, described))


def _device_facts(described: Described, source: str | None, name: str) -> Facts:
    page = {} if described.page is None else {"cu": described.page}
    return {
        "ids": [_device(described.installation, source)],
        "name": name,
        "mf": "sound-monitor",
        "mdl": f"Model {described.model}",
        "sw": __version__,
        **page,
    }


def _description(device: Facts, entities: Iterator[tuple[str, Facts]]) -> Facts:
    (identifier,) = device["ids"]
    return {
        "dev": device,
        "o": {"name": "sound-monitor", "sw": __version__},
        "cmps": {
            key: {"uniq_id": f"{identifier}_{key}", **facts} for key, facts in entities
        },
    }


def _source_entities(
    topics: Topics, described: Described, source: str
) -> Iterator[tuple[str, Facts]]:
    """Key and facts of every entity of a source."""
    monitor = {"t": topics.availability}
    always = {"avty": [monitor]}
    while_listening = {
        "avty": [monitor, {"t": topics.source_availability(source)}],
        "avty_mode": "all",
    }
    diagnostic = {"ent_cat": "diagnostic", **always}
    labels = described.labels[source]

    def entity(platform: str, name: str, topic: str | None = None) -> Facts:
        return _entity(platform, name, topic, source)

    for label in labels:
        facts = entity("binary_sensor", spoken(label), topics.label(source, label))
        sound = {"dev_cla": "sound", **while_listening}
        yield f"label_{_identifier(label)}", facts | sound
    types = {"evt_typ": list(labels), "ic": "mdi:ear-hearing", **always}
    yield "began", entity("event", "Sound", topics.began(source)) | types
    yield "ended", entity("event", "Sound ended", topics.ended(source)) | types
    icon = {"ic": "mdi:history", **always}
    yield "last", entity("sensor", "Last sound", topics.last(source)) | icon
    if described.counts:
        today = topics.today(source)
        counted = {
            "val_tpl": "{{ value_json.events }}",
            "json_attr_t": today,
            "json_attr_tpl": "{{ value_json.labels | tojson }}",
            "stat_cla": "total_increasing",
            "ic": "mdi:counter",
        }
        yield "today", entity("sensor", "Sounds today", today) | counted | always
    measured = {"stat_cla": "measurement", **while_listening}
    level = {"unit_of_meas": "dB", "ic": "mdi:volume-high"}
    yield "level", entity("sensor", "Level", topics.level(source)) | level | measured
    pressure = {"dev_cla": "sound_pressure", "unit_of_meas": "dBA"}
    weighted = pressure if source in described.calibrated else level
    yield "laeq", entity("sensor", "LAeq", topics.laeq(source)) | weighted | measured
    health = topics.health(source)
    facts = {"val_tpl": "{{ value_json.state }}", "ic": "mdi:heart-pulse"}
    attributes = {"json_attr_t": health}
    yield "health", entity("sensor", "Health", health) | facts | attributes | diagnostic
    problem = entity("binary_sensor", "Microphone problem", topics.problem(source))
    yield "problem", problem | {"dev_cla": "problem"} | attributes | diagnostic
    listens = entity("binary_sensor", "Listening", topics.source_availability(source))
    yield "listening", listens | _CONNECTIVITY | diagnostic
    if described.pictures:
        picture = {"img_t": topics.picture(source), "cont_type": "image/png"}
        yield "picture", entity("image", "Latest sound") | picture | always


def _monitor_entities(
    topics: Topics, described: Described
) -> Iterator[tuple[str, Facts]]:
    """Key and facts of every entity of the monitor itself."""
    always = {"avty": [{"t": topics.availability}]}
    settings = {"ent_cat": "config", **always}
    connected = _entity("binary_sensor", "Connected", topics.availability)
    yield "connected", connected | _CONNECTIVITY | {"ent_cat": "diagnostic"}
    problem = _entity("binary_sensor", "Problem", topics.trouble)
    yield (
        "problem",
        problem | {"dev_cla": "problem", "ent_cat": "diagnostic", **always},
    )
    if "mute" in described.requests:
        mute = {"cmd_t": request(topics.mute), "ic": "mdi:bell-off", **settings}
        yield "mute", _entity("switch", "Mute alerts", topics.mute) | mute
    if "sensitivity" in described.requests:
        limits = {"min": 0, "max": 1, "step": 0.05, "ic": "mdi:tune-vertical"}
        for label in every_label(described.labels):
            topic, name = topics.sensitivity(label), f"Sensitivity {spoken(label)}"
            facts = {"cmd_t": request(topic), **limits, **settings}
            key = f"sensitivity_{_identifier(label)}"
            yield key, _entity("number", name, topic) | facts


_CONNECTIVITY = {"dev_cla": "connectivity", "pl_on": ONLINE, "pl_off": OFFLINE}


def _entity(
    platform: str, name: str, topic: str | None, source: str | None = None
) -> Facts:
    names = ["sound_monitor", *([] if source is None else [source]), name]
    facts = {"p": platform, "name": name, "def_ent_id": f"{platform}.{_slug(*names)}"}
    if topic is not None:
        facts["stat_t"] = topic
    if platform == "binary_sensor":
        facts |= {"pl_on": ON, "pl_off": OFF}
    return facts


def every_label(labels: Mapping[str, Sequence[str]]) -> list[str]:
    """The labels of all sources, each once."""
    return list(dict.fromkeys(label for own in labels.values() for label in own))


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


def _device(installation: str, source: str | None) -> str:
    name = f"sound-monitor-{installation}"
    return name if source is None else f"{name}-{_identifier(source)}"


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
