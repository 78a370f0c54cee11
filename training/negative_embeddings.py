"""Negatives of a model: embeddings of many sounds and places, for taught labels.

    python -m training.negative_embeddings SOUNDS... --places places.csv --out FILE

SOUNDS are folders with a folder of recordings for each kind of sound, or tables; see
`read_manifest`.  The table of places has the columns `path`, relative to it, and
`group`; recordings of a group share a place.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import SoundMonitorError
from monitor.model.card import TAUGHT_MODEL
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.model.negatives import (
    Negatives,
    NegativesCard,
    negatives_path,
    write_negatives,
)
from monitor.runtime.examples import (
    Clip,
    Embedder,
    read_samples,
    read_sound,
    windows_of,
)
from training.data.discovery import read_manifest
from training.data.manifest import Manifest, left_out_lines
from training.data.places import read_places

logger = logging.getLogger(__name__)

_MOST_PLACE_SECONDS = 100.0

HOP_SECONDS = 5.0
"""From one window of a place to the next: they just do not overlap."""

LEVEL_GATE_DBFS = -70.0
LICENCE = """\
Embeddings of recordings, from which no recording can be recovered.  The sounds are of \
ESC-50 (K. J. Piczak, 2015), folds 1 to 3, CC BY-NC 3.0; the places are of collections \
of ambience whose files are mostly CC0 and CC BY.  Not for commercial use."""


@dataclass(frozen=True, slots=True)
class NamedRecording:
    """A recording, and the sound or the place that it is of."""

    path: Path
    name: str


def sounds_in(folders: Iterable[Path]) -> list[NamedRecording]:
    """Recordings of sounds, by kind: the label of each; see `read_manifest`.

    Raises:
        UsageError: There is no such folder.
        DatasetError: There are none.
    """
    seen: set[bytes] = set()
    found: list[NamedRecording] = []
    for folder in folders:
        manifest = read_manifest(folder, seen=seen)
        _log_left_out(manifest)
        found += [
            NamedRecording(clip.path, manifest.labels[clip.label])
            for clip in manifest.clips
            if clip.label is not None
        ]
    return _ordered(found)


def places_in(table: Path) -> list[NamedRecording]:
    """Recordings of places, by the group of each; see `read_places`.

    Raises:
        UsageError: There is no such table.
        DatasetError: It names no recording, or breaks a rule.
    """
    manifest = read_places([table])
    _log_left_out(manifest)
    return _ordered([NamedRecording(clip.path, clip.group) for clip in manifest.clips])


def _ordered(found: Iterable[NamedRecording]) -> list[NamedRecording]:
    return sorted(found, key=lambda each: (each.name, each.path.name))


def _log_left_out(manifest: Manifest) -> None:
    for line in left_out_lines(manifest.left_out):
        logger.warning("%s: %s", manifest.origin, line)


def place_windows(
    embedder: Embedder, path: Path, hop_seconds: float
) -> Iterator[NDArray[np.float32]]:
    """Embed the windows of the first hundred seconds of a place, by their start.

    Raises:
        SoundMonitorError: It cannot be read.
    """
    spec = embedder.spec
    samples = read_samples(path, spec, _MOST_PLACE_SECONDS)
    hop = round(hop_seconds * spec.sample_rate)
    for start in range(0, len(samples) - spec.window_samples + 1, hop):
        yield embedder.embed(samples[start : start + spec.window_samples])[0]


def negatives_of(
    embedder: Embedder,
    network: str,
    sounds: Sequence[NamedRecording],
    places: Sequence[NamedRecording],
    advance: Callable[[], None] = lambda: None,
) -> Negatives:
    """Embed a window of each sound, and windows of places every five seconds.

    Raises:
        SoundMonitorError: A recording cannot be read.
    """
    kinds = tuple(dict.fromkeys(each.name for each in sounds))
    groups = tuple(dict.fromkeys(each.name for each in places))
    embeddings, indices = [], []
    for each in sounds:
        sound = read_sound(Clip(each.path), embedder.spec, LEVEL_GATE_DBFS)
        windows = windows_of(sound, embedder.spec)
        embeddings.append(embedder.embed(windows[len(windows) // 2])[0])
        indices.append(kinds.index(each.name))
        advance()
    for each in places:
        for embedding in place_windows(embedder, each.path, HOP_SECONDS):
            embeddings.append(embedding)
            indices.append(len(kinds) + groups.index(each.name))
        advance()
    card = NegativesCard(
        model=embedder.name,
        network=network,
        sounds=kinds,
        places=groups,
        hop_seconds=HOP_SECONDS,
        licence=LICENCE,
    )
    return Negatives(card, np.array(embeddings), np.array(indices))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the negatives of a model."""
    parser = argparse.ArgumentParser("python -m training.negative_embeddings")
    parser.add_argument("sounds", nargs="+", type=Path, metavar="SOUNDS")
    parser.add_argument("--places", type=Path, required=True, metavar="CSV")
    parser.add_argument("--model", default=TAUGHT_MODEL, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    try:
        model = load_model(chosen.model)
        embedder = Embedder(Classifier(model, "cpu"))
        sounds, places = sounds_in(chosen.sounds), places_in(chosen.places)
        negatives = negatives_of(embedder, model.network_digest, sounds, places)
        path = chosen.out or negatives_path(chosen.model)
        write_negatives(path, negatives)
    except SoundMonitorError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    count = len(negatives.kinds)
    sys.stdout.write(f"{path}: {count} windows, {negatives.hours:.2f} h of places\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
