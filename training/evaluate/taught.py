"""Figures of taught labels: classes of sounds that were left out of everything.

    python -m training.evaluate.taught SOUNDS... --places places.csv --keep FILE

Each class in turn is taught from a few of its clips, with negatives that lack it; then
its other clips must stand out from those of all other classes, and places that neither
are negatives nor set a threshold must stay quiet.  See `training.negative_embeddings`
for the arguments; the names of the clips begin with the number of their fold and `-`.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from monitor.errors import DatasetError, SoundMonitorError
from monitor.model.card import TAUGHT_MODEL
from monitor.model.classifier import Classifier
from monitor.model.head_fit import alarm_starts
from monitor.model.model_file import load_model
from monitor.model.negatives import Negatives, NegativesCard
from monitor.model.taught_fit import PAUSE_SECONDS, fit
from monitor.runtime.examples import Clip, Embedder, read_sound, windows_of
from training.negative_embeddings import (
    HOP_SECONDS,
    LEVEL_GATE_DBFS,
    place_windows,
    places_in,
    sounds_in,
)

LIVE_HOP_SECONDS = HOP_SECONDS / 9
"""From one window of a place to the next where alarms are counted, as in a monitor."""

SOUNDS_IN_PLACES = {
    "airplane": "air",
    "cat": "cat",
    "chirpingbirds": "bird|garden|forest|village|rural|park|leaves|seagull|amazon",
    "cracklingfire": "fire",
    "crickets": "cricket|night|forest|garden",
    "door_wood_creaks": "creak|boat",
    "footsteps": "walk",
    "helicopter": "helicopter|air",
    "insects": "cricket|night|forest",
    "keyboard_typing": "office|library",
    "laughing": "coffee|conversation|library|office",
    "mouse_click": "office|library",
    "pouring_water": "wat|hose|drop|stream|fall|dishwasher|rain|toilet",
    "rain": "rain|storm|hose|wat|drop|drain",
    "seawaves": "sea|wave|boat|ship|wind|wat",
    "thunderstorm": "thunder|storm|rain",
    "toilet_flush": "toilet",
    "train": "train|metro",
    "vacuum_cleaner": "vacuum|fan|vent|dishwasher|mach",
    "washing_machine": "washing|dishwasher|mach|conv",
    "water_drops": "drop|cave|drain|rain|wat",
    "wind": "wind|storm|sea|wave|arctic|desert",
}
"""Names of places in which a class sounds: its figures leave them out."""

FEWEST_CLIPS = 20
"""Of a class that is evaluated."""

WANTED_CLASSES = 20


@dataclass(frozen=True)
class Material:
    """Embeddings of all clips and places."""

    clips: NDArray[np.int64]
    """Clip of each window, (windows,)."""

    embeddings: NDArray[np.float32]
    """(windows, features)."""

    classes: NDArray[np.str_]
    """Of each clip."""

    folds: NDArray[np.int64]
    """Of each clip."""

    place_embeddings: NDArray[np.float32]
    place_windows: NDArray[np.int64]
    """Place of each window."""

    places: NDArray[np.str_]
    """Name of each recording of a place."""

    groups: NDArray[np.str_]
    """Group of each recording of a place."""

    def save(self, path: Path) -> None:
        """Write all to a file of numpy."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Material":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(**file)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one class, or means of several."""

    name: str
    average_precision: float
    half_alarms_per_hour: float
    """Alarms an hour at the threshold at which half of its other clips are detected."""

    detected: float
    """Share of its other clips detected at the threshold that `teach` chooses."""

    alarms_per_hour: float
    """Alarms an hour there."""


def embed(embedder: Embedder, folders: Sequence[Path], table: Path) -> Material:
    """Embed all clips and places.

    Raises:
        SoundMonitorError: A recording cannot be read.
    """
    sounds, places = sounds_in(folders), places_in(table)
    clips, embeddings = [], []
    for index, each in enumerate(sounds):
        sound = read_sound(Clip(each.path), embedder.spec, LEVEL_GATE_DBFS)
        for window in windows_of(sound, embedder.spec):
            embeddings.append(embedder.embed(window)[0])
            clips.append(index)
    in_places, place_embeddings = [], []
    for index, each in enumerate(places):
        for embedding in place_windows(embedder, each.path, LIVE_HOP_SECONDS):
            place_embeddings.append(embedding)
            in_places.append(index)
    return Material(
        np.array(clips),
        np.array(embeddings),
        np.array([each.name for each in sounds]),
        np.array([_fold(each.path) for each in sounds]),
        np.array(place_embeddings),
        np.array(in_places),
        np.array([each.path.stem for each in places]),
        np.array([each.name for each in places]),
    )


def _fold(path: Path) -> int:
    number = path.name.partition("-")[0]
    if not number.isdigit():
        raise DatasetError(f"{path}: its name does not begin with a fold and '-'")
    return int(number)


def evaluate_class(material: Material, name: str, count: int, seed: int) -> Figures:
    """Teach a class and measure it, on each fold and in each half of the places.

    Args:
        material: Everything; the class is left out of the negatives.
        name: The class.
        count: Clips that it is taught from, of the other folds.
        seed: Of the choice of these.
    """
    pattern = SOUNDS_IN_PLACES.get(name)
    is_quiet = np.array(
        [not (pattern and re.search(pattern, it.lower())) for it in material.places]
    )
    halves = _halves(material.groups)
    trials = [
        _trial(material, name, fold, is_quiet & (halves == half), is_quiet, count, seed)
        for fold in sorted(set(material.folds.tolist()))
        for half in (0, 1)
    ]
    return Figures(name, *np.mean(trials, axis=0).tolist())


def _trial(
    material: Material,
    name: str,
    fold: int,
    is_negative: NDArray[np.bool_],
    is_quiet: NDArray[np.bool_],
    count: int,
    seed: int,
) -> tuple[float, float, float, float]:
    """Figures of one fold and one half of the places, as in `Figures`."""
    is_class, is_test = material.classes == name, material.folds == fold
    rng = np.random.default_rng([seed, fold])
    examples = rng.permutation(np.flatnonzero(is_class & ~is_test))[:count]
    clips = [
        material.embeddings[material.clips == clip].astype(np.float64)
        for clip in examples.tolist()
    ]
    negatives = _negatives(material, ~is_class & ~is_test, is_negative)
    fitted = fit(clips, negatives)
    values = np.full(len(material.classes), -np.inf)
    deviations = fitted.head(material.embeddings.astype(np.float64))
    np.maximum.at(values, material.clips, deviations)
    own = values[is_class & is_test]
    counted = (is_quiet & ~is_negative)[material.place_windows]
    in_places = fitted.head(material.place_embeddings[counted].astype(np.float64))
    recordings = material.place_windows[counted]
    seconds = LIVE_HOP_SECONDS * np.arange(len(recordings), dtype=np.float64)
    hours = len(recordings) * LIVE_HOP_SECONDS / 3600

    def alarms_per_hour(threshold: float) -> float:
        starts = alarm_starts(in_places, recordings, seconds, threshold, PAUSE_SECONDS)
        return len(starts) / hours

    threshold = fitted.levels.threshold
    return (
        float(average_precision_score(is_class[is_test], values[is_test])),
        alarms_per_hour(float(np.median(own))),
        float(np.mean(own >= threshold)),
        alarms_per_hour(threshold),
    )


def _negatives(
    material: Material, is_clip: NDArray[np.bool_], is_place: NDArray[np.bool_]
) -> Negatives:
    """Negatives as in the box: a window of each clip, and of places every 5 seconds."""
    _, first, windows = np.unique(material.clips, return_index=True, return_counts=True)
    chosen = (first + windows // 2)[is_clip]
    in_places = np.flatnonzero(is_place[material.place_windows])
    in_places = in_places[:: round(HOP_SECONDS / LIVE_HOP_SECONDS)]
    groups, kinds = np.unique(material.place_windows[in_places], return_inverse=True)
    card = NegativesCard(
        model="evaluated",
        network="0" * 64,
        sounds=("sounds",),
        places=tuple(f"place {number}" for number in groups.tolist()),
        hop_seconds=HOP_SECONDS,
    )
    embeddings = [material.embeddings[chosen], material.place_embeddings[in_places]]
    indices = [np.zeros(len(chosen), np.int64), 1 + kinds]
    return Negatives(card, np.concatenate(embeddings), np.concatenate(indices))


def _halves(groups: NDArray[np.str_]) -> NDArray[np.int64]:
    """0 or 1 for each recording; those of a group share it."""
    names = sorted(set(groups.tolist()))
    order = np.random.default_rng(1).permutation(len(names))
    half = dict(zip(names, (order % 2).tolist(), strict=True))
    return np.array([half[group] for group in groups.tolist()])


def classes_of(material: Material) -> list[str]:
    """Classes with enough clips, those first that no place is named after."""
    names, counts = np.unique(material.classes, return_counts=True)
    found = names[counts >= FEWEST_CLIPS].tolist()
    return sorted(found, key=lambda name: (name in SOUNDS_IN_PLACES, name))


def evaluate(material: Material, count: int, seed: int) -> Iterator[Figures]:
    """Figures of each class, of the first twenty together, and of all."""
    found = []
    for name in classes_of(material):
        found.append(evaluate_class(material, name, count, seed))
        yield found[-1]
    yield mean_of(f"first {WANTED_CLASSES}", found[:WANTED_CLASSES])
    yield mean_of(f"all {len(found)}", found)


def mean_of(name: str, figures: Sequence[Figures]) -> Figures:
    """Mean of the figures of several classes."""
    rows = [astuple(each)[1:] for each in figures]
    return Figures(name, *np.mean(rows, axis=0).tolist())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of all classes, a line of JSON each."""
    parser = argparse.ArgumentParser("python -m training.evaluate.taught")
    parser.add_argument("sounds", nargs="+", type=Path, metavar="SOUNDS")
    parser.add_argument("--places", type=Path, required=True, metavar="CSV")
    parser.add_argument("--model", default=TAUGHT_MODEL, metavar="FILE")
    parser.add_argument("--clips", type=int, default=5, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="of embeddings")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.keep is not None and chosen.keep.exists():
            material = Material.load(chosen.keep)
        else:
            embedder = Embedder(Classifier(load_model(chosen.model), "cpu"))
            material = embed(embedder, chosen.sounds, chosen.places)
            if chosen.keep is not None:
                material.save(chosen.keep)
        for figures in evaluate(material, chosen.clips, chosen.seed):
            sys.stdout.write(json.dumps(_rounded(figures)) + "\n")
            sys.stdout.flush()
    except SoundMonitorError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _rounded(figures: Figures) -> dict[str, object]:
    return {
        key: round(value, 3) if isinstance(value, float) else value
        for key, value in asdict(figures).items()
    }


if __name__ == "__main__":
    sys.exit(main())
