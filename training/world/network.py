"""The network of mn04_as as a network of this program, with its own front end."""

import math
import re
from pathlib import Path

import torch
from torch import nn

from monitor.errors import UsageError
from monitor.model.networks import Network, build_network
from monitor.model.networks.mn04 import SPEC
from monitor.text import printable
from training.data.tables import read_table
from training.distill.initialisation import (
    Weights,
    classifier,
    copy_trunk,
    is_known,
    read_weights,
)

PRESET = "mn04"
_SHIFT, _SCALE = 4.5, 5.0
"""The logarithm of a power is shifted and scaled so, before the first layer."""


def read_network(path: Path, classes: int) -> Network:
    """Build the network from the ONNX file of the teacher.

    Args:
        path: The file.
        classes: Number of classes that it must have.

    Raises:
        UsageError: It is not a file with the weights of mn04_as, or has other classes.
    """
    weights = read_weights(path)
    if not is_known(weights):
        raise UsageError(f"--teacher: {path} has not the weights of mn04_as")
    try:
        network, found = _network_of(weights)
    except (KeyError, RuntimeError, ValueError) as error:  # another shape, or name
        reason = printable(str(error).splitlines()[0])
        raise UsageError(
            f"--teacher: {path} has other weights than mn04_as ({reason:.200})"
        ) from None
    if found != classes:
        raise UsageError(
            f"--teacher: {path} has {found} classes, and the table of --classes "
            f"{classes}"
        )
    return network


def _network_of(weights: Weights) -> tuple[Network, int]:
    """Return the network and the number of its classes."""
    head = classifier(weights)
    if head is None:
        raise KeyError("m.classifier.2.weight")
    linear = [each for each in head.modules() if isinstance(each, nn.Linear)]
    classes = linear[-1].out_features
    network = build_network(PRESET, SPEC, classes).eval()
    with torch.no_grad():
        _fill(network, weights)
        network.head.load_state_dict(head.state_dict())
    return network, classes


def _fill(network: Network, weights: Weights) -> None:
    copy_trunk(network.blocks, weights)
    decibels = 10 / math.log(10)
    network.normalise.mean.fill_(-_SHIFT * decibels)
    network.normalise.deviation.fill_(_SCALE * decibels)


def read_classes(path: Path) -> dict[str, str]:
    """Read AudioSet's table of classes; return each with its name as a label.

    Raises:
        TableError: It is not such a table, or two classes have the same label.
    """
    found: dict[str, str] = {}
    for row in read_table(path, ("display_name",)).rows:
        name = row.name("display_name")
        label = label_of(name)
        if not label or label in found.values():
            raise row.error(f"display_name: {name!r} gives no label of its own")
        found[name] = label
    return found


def label_of(name: str) -> str:
    """Return the label of a class: its name in lower case, with words joined by `_`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
