"""What Home Assistant 2026.11 accepts as the description of a device, as tables.

After its `components/mqtt`: `schemas.py`, `abbreviations.py`, `discovery.py` and the
modules of the platforms.  It ignores unknown keys of a component; here they are
faults, since what they ask for does not happen.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]

ABBREVIATIONS = {
    "avty": "availability",
    "avty_mode": "availability_mode",
    "cmd_t": "command_topic",
    "cmps": "components",
    "cont_type": "content_type",
    "def_ent_id": "default_entity_id",
    "dev": "device",
    "dev_cla": "device_class",
    "ent_cat": "entity_category",
    "evt_typ": "event_types",
    "ic": "icon",
    "img_t": "image_topic",
    "json_attr_t": "json_attributes_topic",
    "json_attr_tpl": "json_attributes_template",
    "o": "origin",
    "p": "platform",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "stat_cla": "state_class",
    "stat_t": "state_topic",
    "t": "topic",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
}
DEVICE_ABBREVIATIONS = {
    "cu": "configuration_url",
    "ids": "identifiers",
    "mdl": "model",
    "mf": "manufacturer",
    "sw": "sw_version",
}
ORIGIN_ABBREVIATIONS = {"sw": "sw_version", "url": "support_url"}


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_topic(value: Any) -> bool:
    return is_text(value) and not re.search(r"[+#\x00-\x1f\x7f-\x9f]", value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def one_of(*values: str) -> Check:
    return lambda value: value in values


def is_entity(domain: str) -> Check:
    return lambda value: bool(re.fullmatch(rf"{domain}\.[a-z0-9_]+", value))


def is_list_of(schema: Mapping[str, Check]) -> Check:
    return lambda value: all(not faults(each, schema, {"topic"}) for each in value)


AVAILABILITY = {
    "topic": is_topic,
    "payload_available": is_text,
    "payload_not_available": is_text,
    "value_template": is_text,
}
ENTITY: dict[str, Check] = {
    "platform": one_of("binary_sensor", "event", "image", "number", "sensor", "switch"),
    "availability": is_list_of(AVAILABILITY),
    "availability_mode": one_of("all", "any", "latest"),
    "default_entity_id": is_text,
    "entity_category": one_of("config", "diagnostic"),
    "icon": lambda value: bool(re.fullmatch(r"[a-z]+:[a-z0-9-]+", value)),
    "json_attributes_template": is_text,
    "json_attributes_topic": is_topic,
    "name": is_text,
    "state_topic": is_topic,
    "unique_id": is_text,
    "value_template": is_text,
}
PLATFORMS: dict[str, dict[str, Check]] = {
    "binary_sensor": ENTITY
    | {
        "default_entity_id": is_entity("binary_sensor"),
        "device_class": one_of("sound", "problem", "connectivity"),
        "payload_off": is_text,
        "payload_on": is_text,
    },
    "sensor": ENTITY
    | {
        "default_entity_id": is_entity("sensor"),
        "device_class": one_of("sound_pressure"),
        "state_class": one_of("measurement", "total", "total_increasing"),
        "unit_of_measurement": is_text,
    },
    "event": ENTITY
    | {
        "default_entity_id": is_entity("event"),
        "event_types": lambda value: bool(value) and all(map(is_text, value)),
    },
    "image": {key: check for key, check in ENTITY.items() if key != "state_topic"}
    | {
        "default_entity_id": is_entity("image"),
        "image_topic": is_topic,
        "content_type": one_of("image/png"),
    },
    "number": ENTITY
    | {
        "default_entity_id": is_entity("number"),
        "command_topic": is_topic,
        "min": is_number,
        "max": is_number,
        "step": is_number,
    },
    "switch": ENTITY
    | {"default_entity_id": is_entity("switch"), "command_topic": is_topic},
}
DEVICE: dict[str, Check] = {
    "identifiers": lambda value: bool(value) and all(map(is_text, value)),
    "manufacturer": is_text,
    "model": is_text,
    "configuration_url": lambda value: value.startswith("http"),
    "name": is_text,
    "sw_version": is_text,
    "via_device": is_text,
}
ORIGIN: dict[str, Check] = {"name": is_text, "sw_version": is_text}

DISCOVERY_TOPIC = re.compile(r"[^/]+/device/[a-zA-Z0-9_-]+/config")


def written_out(facts: Any) -> Any:
    """Replace all abbreviations."""
    whole = _renamed(facts, ABBREVIATIONS)
    whole["device"] = _renamed(whole["device"], DEVICE_ABBREVIATIONS)
    whole["origin"] = _renamed(whole["origin"], ORIGIN_ABBREVIATIONS)
    whole["components"] = {
        key: _component(each) for key, each in whole["components"].items()
    }
    return whole


def device_faults(topic: str, facts: Any) -> list[str]:
    """Faults of a description without abbreviations."""
    found = [] if DISCOVERY_TOPIC.fullmatch(topic) else [f"topic {topic}"]
    needed = {"device", "origin", "components"}
    found += [f"key {key}" for key in needed ^ set(facts)]
    found += faults(facts["device"], DEVICE, {"identifiers"})
    found += faults(facts["origin"], ORIGIN, {"name"})
    for key, each in facts["components"].items():
        if set(each) == {"platform"}:
            continue  # it is removed
        schema = PLATFORMS[each["platform"]]
        main = "image_topic" if each["platform"] == "image" else "state_topic"
        needs = {"unique_id", main, "name", "default_entity_id"}
        found += [f"{key}: {fault}" for fault in faults(each, schema, needs)]
    return found


def faults(
    facts: Mapping[str, Any], schema: Mapping[str, Check], needs: set[str]
) -> list[str]:
    return [f"no {key}" for key in needs - set(facts)] + [
        f"{key}: {value!r}"
        for key, value in facts.items()
        if key not in schema or not schema[key](value)
    ]


def _component(facts: Mapping[str, Any]) -> dict[str, Any]:
    whole = _renamed(facts, ABBREVIATIONS)
    if "availability" in whole:
        whole["availability"] = [
            _renamed(each, ABBREVIATIONS) for each in whole["availability"]
        ]
    return whole


def _renamed(facts: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in facts.items()}
