"""The network of mn04_as as a network of this program, with its own front end."""

import csv
import math
import re
from pathlib import Path

import torch
from torch import nn

from monitor.errors import DatasetError, UsageError
from monitor.model.networks import Network, build_network
from monitor.model.networks.mn04 import SPEC
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


def read_network(path: Path) -> Network:
    """Build the network from the ONNX file of the teacher.

    Raises:
        UsageError: It is not a file with the weights of mn04_as.
    """
    weights = read_weights(path)
    head = classifier(weights) if is_known(weights) else None
    if head is None:
        raise UsageError(f"{path}: has not the weights of mn04_as")
    linear = [each for each in head.modules() if isinstance(each, nn.Linear)]
    network = build_network(PRESET, SPEC, linear[-1].out_features).eval()
    with torch.no_grad():
        _fill(network, weights)
        network.head.load_state_dict(head.state_dict())
    return network


def _fill(network: Network, weights: Weights) -> None:
    copy_trunk(network.blocks, weights)
    decibels = 10 / math.log(10)
    network.normalise.mean.fill_(-_SHIFT * decibels)
    network.normalise.deviation.fill_(_SCALE * decibels)


def read_classes(path: Path) -> dict[str, str]:
    """Read AudioSet's table of classes; return each with its name as a label.

    Raises:
        DatasetError: It is not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            names = [row["display_name"] for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: is not a table of classes ({error})") from None
    return {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names}
