"""The installation: its id, the prefix of its topics, and what it has on the broker."""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import unquote

from monitor.private_files import read_regular, write_private
from monitor.sinks.mqtt.connection import BrokerConnection, Message
from monitor.sinks.mqtt.discovery import former_discovery
from monitor.sinks.mqtt.topics import OFF, ON, Topics, is_topic
from monitor.text import name_problem

logger = logging.getLogger(__name__)

FILE = "mqtt.json"
MACHINE_ID = Path("/etc/machine-id")

CLAIM_SECONDS = 1.0
"""Time for a broker to send what it retains, and for another monitor to object."""

MOST_BYTES = 2**24
"""Limit of the file, which lists the topics of each label."""

MOST_LEFT = 10_000
"""Limit of the topics that others have left, which go into the file."""

_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)

Retained = dict[str, dict[str, str]]
"""Retained topics; those of discovery with their components and the platform of each,
which Home Assistant has to be told when one is gone."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What the file in the state folder holds."""

    id: str
    """12 random hexadecimal digits."""

    machine: str
    """Digest of the machine's id."""

    prefix: str = ""
    """Prefix of the topics in use; empty before the first connection."""

    retained: Retained = field(default_factory=dict)
    """Retained topics that may be on the broker."""


def read_installation(folder: Path, machine_id: Path = MACHINE_ID) -> Installation:
    """Read the file in the state folder; begin anew where it is missing or damaged.

    Also on another machine: with a copy of its disk, a second monitor would take the
    first one's place on the broker.
    """
    machine = _machine(machine_id)
    try:
        facts: Any = json.loads(read_regular(folder / FILE, MOST_BYTES))
        found = Installation(
            str(facts["installation"]),
            str(facts["machine"]),
            str(facts["prefix"]),
            {
                str(topic): {str(key): str(kind) for key, kind in components.items()}
                for topic, components in facts["retained"].items()
                if is_topic(str(topic))
            },
        )
    except FileNotFoundError:
        pass
    except _DAMAGE as error:
        logger.warning("%s cannot be read, a new one begins: %s", folder / FILE, error)
    else:
        if found.machine == machine and _is_id(found.id) and _is_prefix(found.prefix):
            return found
    return Installation(token_hex(6), machine)


def write_installation(folder: Path, installation: Installation) -> None:
    """Write the file.

    Raises:
        OSError: It cannot be written.
    """
    facts = {
        "installation": installation.id,
        "machine": installation.machine,
        "prefix": installation.prefix,
        "retained": installation.retained,
    }
    write_private(folder / FILE, json.dumps(facts, indent=1) + "\n")


def claim_prefix(
    installation: Installation,
    topic: str,
    discovery_prefix: str | None,
    connection: BrokerConnection,
    seconds: float = CLAIM_SECONDS,
) -> Installation:
    """Take `topic` as prefix, or, if another monitor has it, one with the id appended.

    The retained topic PREFIX/installation holds the id of the one that has it; what is
    no id counts for nothing.  Anybody may have left one there, so the holder is asked:
    one that does not answer loses the prefix to an installation that is new, as a
    machine that was set up again, and to one that had it before.  What it or an earlier
    version has left on the broker is added to the topics that are retained.

    Raises:
        BrokerError: The connection is lost.
    """
    own, own_id = f"{topic}-{installation.id}", installation.id
    topics, former = Topics(topic), Topics(installation.prefix or topic)
    is_new = installation.prefix not in (topic, own)
    received = _ask(installation, topics, former, connection, seconds)
    if former.prefix != topic and _other_answers(received, former, own_id):
        # Another monitor has taken the former prefix over, and what is below it.
        installation = _without(installation, former.prefix)
    before = holder = _holder(received, topics)
    if _may_take(installation, own, topics, received):
        if is_new:
            connection.subscribe(topics.every_label)
        connection.publish([Message(topics.installation, own_id, retain=True)])
        if is_new or before != own_id:
            # Of two that claim it at the same time, the broker's last one has it.
            received = connection.wait_received(None, seconds)
        holder = _holder(received, topics) or own_id
    if holder == own_id:
        left: Retained = {}
        if is_new:
            left = _left_by_others(received, topic, discovery_prefix)
        retained = {**left, **installation.retained}
        return replace(installation, prefix=topic, retained=retained)
    if installation.prefix != own:
        logger.warning(
            "the topic %s belongs to another monitor on this broker (installation %s), "
            "so this one publishes under %s; mqtt.topic gives it another name",
            topic,
            holder,
            own,
        )
    return replace(_without(installation, topic), prefix=own)


def _ask(
    installation: Installation,
    topics: Topics,
    former: Topics,
    connection: BrokerConnection,
    seconds: float,
) -> list[Message]:
    """Return what is retained of the wanted and the former prefix, and who answers."""
    own_claim = topics.installation, installation.id
    has_prefix = installation.prefix == topics.prefix
    connection.subscribe(topics.installation, former.installation)
    asked = {topics.who_holds, former.who_holds}
    connection.publish(Message(each, "") for each in asked)
    return connection.wait_received(
        lambda it: has_prefix and (it.topic, it.payload) == own_claim, seconds
    )


def _may_take(
    installation: Installation, own: str, topics: Topics, received: Sequence[Message]
) -> bool:
    """Whether nobody else has the prefix, or only somebody who does not answer.

    An installation that publishes under its `own` one takes it from nobody.
    """
    if _holder(received, topics) in ("", installation.id):
        return True
    is_silent = not _other_answers(received, topics, installation.id)
    return is_silent and installation.prefix != own


def _holder(received: Sequence[Message], topics: Topics) -> str:
    """Id of the installation that has a prefix; empty: none.

    Anybody who may publish on the broker may have written there.
    """
    texts = [str(it.payload) for it in received if it.topic == topics.installation]
    return texts[-1] if texts and _is_id(texts[-1]) else ""


def _other_answers(received: Sequence[Message], topics: Topics, own_id: str) -> bool:
    """Whether another installation has answered now, and not only long ago."""
    live = [it for it in received if not it.retain]
    return _holder([it for it in live if it.payload != own_id], topics) != ""


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{12}", text) is not None


def _is_prefix(text: str) -> bool:
    return not text or is_topic(text)


def _without(installation: Installation, prefix: str) -> Installation:
    """Leave out the retained topics below a prefix."""
    kept = {
        topic: components
        for topic, components in installation.retained.items()
        if not topic.startswith(f"{prefix}/")
    }
    return replace(installation, retained=kept)


def _left_by_others(
    received: Sequence[Message], topic: str, discovery_prefix: str | None
) -> Retained:
    """Topics of an earlier version, or of a former holder, by the states of labels.

    They have `topic` in their name.  What a former holder has elsewhere stays: its id
    may be that of another monitor.
    """
    left: Retained = {}
    for message in received:
        levels = message.topic.removeprefix(f"{topic}/").split("/")
        if len(levels) != 3 or levels[1] != "label" or message.payload not in (ON, OFF):
            continue
        source, label = levels[0], unquote(levels[2])
        if name_problem(source) or name_problem(label) or len(left) > MOST_LEFT:
            continue  # not a monitor's
        gone = Topics(topic).of(source, [label])
        if discovery_prefix is not None:
            gone += former_discovery(discovery_prefix, topic, source, label)
        left |= {each: {} for each in gone}
    return left


def _machine(path: Path) -> str:
    """Digest of the machine's id, which is not to be published or stored itself."""
    try:
        text = path.read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(b"sound-monitor" + text.strip()).hexdigest()[:16]
