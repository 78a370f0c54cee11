"""Builds the included model world: `python -m training.world.build --help`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from monitor.errors import DatasetError, SoundMonitorError
from monitor.model.card import ModelCard
from monitor.model.catalogue import CatalogueEntry, choose_labels
from monitor.model.classifier import Classifier
from monitor.model.model_file import write_model
from monitor.model.models import Models
from monitor.model.networks.mn04 import SPEC
from monitor.model.thresholds import Thresholds
from monitor.model.trained import TrainedModel, to_stored
from training.data.decoded import Advance, open_store
from training.data.discovery import read_manifest
from training.data.manifest import Clip, relabel
from training.data.places import Places, deal_places, read_places
from training.files import check_out, make_folder
from training.progress import Display
from training.streams.scenes import SceneClips
from training.world.catalogue import Entry, read_catalogue
from training.world.figures import (
    LabelInPlaces,
    clip_figures,
    clip_scores,
    score_all,
    summary,
)
from training.world.network import PRESET, read_classes, read_network

LICENCE = """\
The network is mn04_as of EfficientAT (F. Schmid, K. Koutini and G. Widmer, "Efficient
Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation", 2023), trained
on AudioSet. Copyright (c) 2022 Florian Schmid, MIT License, whose text comes with the
program."""


def build(
    teacher: Path,
    classes: Path,
    clips: Sequence[Path],
    places: Path,
    cache: Path,
    out: Path,
    advance: Advance,
) -> ModelCard:
    """Write the model file; return its card.

    Args:
        teacher: ONNX file with the weights of mn04_as by name.
        classes: AudioSet's table of classes, in the order of its outputs.
        clips: Folders with a sub-folder for each label.
        places: Table of recordings of places.
        cache: Folder for decoded recordings.
        out: Replaced if it exists.
        advance: Shows the progress.

    Raises:
        SoundMonitorError: Something cannot be used.
    """
    check_out(out)
    make_folder(cache, "--cache")
    names, entries = read_classes(classes), read_catalogue()
    network = read_network(teacher, len(names))
    card = ModelCard(
        name="world",
        preset=PRESET,
        labels=tuple(names.values()),
        catalogue={label: each.for_card(names) for label, each in entries.items()},
        licence=LICENCE,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    stored = to_stored(TrainedModel(network, SPEC, card))
    choice = choose_labels([stored.card], tuple(entries), {"": None})
    models = Models([Classifier(stored, "cpu")], choice.scored)
    events, kinds = _clips(clips, cache, advance)
    _check_kinds(kinds, entries)
    in_places = _places(places, cache, advance)
    scored = score_all(models, in_places, events, kinds, advance)
    found = {
        label: LabelInPlaces(label, entry, scored, models).thresholds()
        for label, entry in entries.items()
    }
    scores = clip_scores(models, events, advance)
    of_clips = [kinds[clip.label] for clip in events.clips if clip.label is not None]
    catalogue = {
        label: entry.model_copy(
            update={
                "figures": clip_figures(
                    scores[:, models.labels.index(label)],
                    of_clips,
                    entries[label],
                    found[label].onset,
                )
            }
        )
        for label, entry in stored.card.catalogue.items()
    }
    card = stored.card.model_copy(
        update={
            "catalogue": catalogue,
            "thresholds": found,
            "report": _report(found, catalogue, scored.hours),
        }
    )
    write_model(out, replace(stored, card=card))
    return card


def _report(
    found: Mapping[str, Thresholds],
    catalogue: Mapping[str, CatalogueEntry],
    hours: float,
) -> dict[str, Any]:
    precisions = [
        each.figures.average_precision for each in catalogue.values() if each.figures
    ]
    shares = [each.figures.detected for each in catalogue.values() if each.figures]
    return {
        "labels_with_clips": len(precisions),
        "macro_average_precision": float(np.mean(precisions)),
        "clips_detected": float(np.mean(shares)),
        "hours_of_places": hours,
        **summary(found),
    }


def _clips(
    folders: Sequence[Path], cache: Path, advance: Advance
) -> tuple[SceneClips, tuple[str, ...]]:
    """Decode the clips of all folders; return them with their labels."""
    seen: set[bytes] = set()
    found = [read_manifest(folder, seen=seen) for folder in folders]
    kinds = tuple(sorted({label for each in found for label in each.labels}))
    clips: list[Clip] = []
    for manifest in found:
        clips += relabel(manifest, kinds).clips
    joined = replace(found[0], labels=kinds, clips=tuple(clips))
    joined, store = open_store(joined, SPEC.sample_rate, cache, advance)
    return SceneClips(joined.clips, store), kinds


def _check_kinds(kinds: Sequence[str], entries: Mapping[str, Entry]) -> None:
    """Check that some clips measure something.

    Raises:
        DatasetError: They do not.
    """
    if not set(kinds) & {name for entry in entries.values() for name in entry.clips}:
        raise DatasetError(
            f"--clips: none of {', '.join(kinds):.200} is a label of clips in the "
            "catalogue"
        )


def _places(table: Path, cache: Path, advance: Advance) -> Places:
    found, store = open_store(read_places([table]), SPEC.sample_rate, cache, advance)
    return Places(deal_places(found, store, SPEC).clips, store)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, and build."""
    parser = argparse.ArgumentParser(
        prog="python -m training.world.build", description=__doc__.split(":")[0]
    )
    paths = {
        "--teacher": "ONNX file with the weights of mn04_as by name",
        "--classes": "AudioSet's table of classes, with the column display_name",
        "--places": "table of recordings of places",
        "--cache": "folder for decoded recordings",
        "--out": "model file to write",
    }
    for name, text in paths.items():
        parser.add_argument(name, type=Path, required=True, help=text)
    parser.add_argument(
        "--clips",
        type=Path,
        required=True,
        action="append",
        help="folder with a sub-folder for each label; may be given several times",
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        with Display(Console(stderr=True)) as display:
            card = build(**vars(given), advance=display.advance)
    except SoundMonitorError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(card.report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
