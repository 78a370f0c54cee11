"""Beds: a minute of sound without any label, over which events are laid.

A real place goes on under an event; clips of other sounds come and go; noise and hum
are steady; some rooms are silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.data.decoded import ClipStore
from training.data.manifest import Clip
from training.mixtures import augment, synthetic
from training.mixtures.synthetic import LEVEL, decibels, loudness

Samples = NDArray[np.float32]
Kind = Literal["place", "changing", "synthetic", "silent"]
_KINDS: tuple[tuple[Kind, float], ...] = (
    ("place", 0.55),
    ("changing", 0.2),
    ("synthetic", 0.1),
    ("silent", 0.15),
)
"""Kinds of beds and their shares."""
_ANOTHER_PLACE = 0.25
"""Share of beds that fade into another place."""
_ANOTHER_DB = 12.0
_FADES_SECONDS = (0.2, 1.0, 5.0)
_SYNTHETIC_ON_TOP = 0.2
_CHANGING_DB = (-10.0, 6.0)
_SPEED_SHARE, _SPEED_RANGE, _FILTER_SHARE = 0.5, 0.15, 0.6


@dataclass(frozen=True, slots=True)
class Bed:
    """A stretch of sound without any label, with a root mean square of about 0.1."""

    samples: Samples
    """(n,)."""
    kind: Kind
    """Of its first sound."""
    has_place: bool
    """A recording of a place is in it."""


class BedMaker:
    """Makes beds of given places and negatives; holds no state."""

    def __init__(
        self,
        places: Sequence[Clip],
        places_store: ClipStore,
        negatives: Sequence[Clip],
        negatives_store: ClipStore,
        rate: int,
    ) -> None:
        self._places, self._places_store = tuple(places), places_store
        self._negatives, self._negatives_store = tuple(negatives), negatives_store
        self._rate = rate
        lengths = [places_store.sound(clip.path).shape[1] for clip in places]
        seconds = np.minimum(np.array(lengths) / rate, 60)
        self._weights = seconds / seconds.sum()

    def make(self, r: Generator, length: int) -> Bed:
        """Make a bed of `length` samples."""
        kind = _drawn(r)
        if kind == "silent":
            noise = synthetic.coloured_noise(r, length, self._rate)
            return Bed(noise, kind, has_place=False)
        if kind == "place":
            bed = self._place(r, length)
        elif kind == "changing":
            bed = self._changing(r, length)
        else:
            bed = synthetic.any_sound(r, length, self._rate)
        bed = augment.match_level(bed, LEVEL, 0)
        joined = r.random() < _ANOTHER_PLACE
        if joined:
            bed = self._into_another(r, bed)
        if r.random() < _SYNTHETIC_ON_TOP:
            more = synthetic.any_sound(r, length, self._rate)
            bed = bed + augment.match_level(more, LEVEL, r.uniform(-20, 0))
        return Bed(bed.astype(np.float32), kind, joined or kind == "place")

    def rival(self, r: Generator) -> Samples:
        """Draw a sound that may resemble a label and has none, (n,)."""
        return vary(r, self._negative(r), self._rate)

    def _negative(self, r: Generator) -> Samples:
        clip = self._negatives[int(r.integers(len(self._negatives)))]
        return mono(self._negatives_store, clip)

    def _place(self, r: Generator, length: int) -> Samples:
        clip = self._places[int(r.choice(len(self._places), p=self._weights))]
        sound = mono(self._places_store, clip)
        enough = length + length // 4  # whatever the change of speed
        if len(sound) > enough:
            start = int(r.integers(0, len(sound) - enough + 1))
            sound = sound[start : start + enough]
        return augment.looped(r, vary(r, sound, self._rate), length, self._rate)

    def _changing(self, r: Generator, length: int) -> Samples:
        """Negatives one after the other, over steady noise."""
        made = synthetic.coloured_noise(r, length, self._rate, slope=-1.5)
        return augment.lay_in_succession(
            r,
            augment.match_level(made, LEVEL, -10),
            lambda: self.rival(r) if r.random() < _SPEED_SHARE else self._negative(r),
            LEVEL,
            _CHANGING_DB,
            self._rate,
        )

    def _into_another(self, r: Generator, bed: Samples) -> Samples:
        length = len(bed)
        level = r.uniform(-_ANOTHER_DB, _ANOTHER_DB)
        other = augment.match_level(self._place(r, length), LEVEL, level)
        at = int(r.integers(length // 6, length * 5 // 6))
        fade = r.choice(_FADES_SECONDS) * self._rate
        ramp = ((np.arange(length) - at) / fade).clip(0, 1) * np.pi / 2
        return np.asarray(bed * np.cos(ramp) + other * np.sin(ramp), np.float32)


def _drawn(r: Generator) -> Kind:
    kinds, shares = zip(*_KINDS, strict=True)
    kind: Kind = kinds[int(r.choice(len(kinds), p=shares))]
    return kind


def mono(store: ClipStore, clip: Clip) -> Samples:
    """Return the sound of a clip, (n,)."""
    samples: Samples = store.sound(clip.path).mean(axis=0)
    return samples


def vary(r: Generator, sound: Samples, rate: int) -> Samples:
    """Change speed and colour of a sound at random, (n,) to (m,)."""
    varied: Samples = sound[None]
    if r.random() < _SPEED_SHARE:
        varied = augment.change_speed(r, varied, _SPEED_RANGE)
    if r.random() < _FILTER_SHARE:
        varied = augment.filter_randomly(r, varied, rate)
    one: Samples = varied[0]
    return one


def lay(bed: Samples, sound: Samples, start: int, snr_db: float) -> Samples:
    """Scale a sound to a level above the part of a bed that it covers, (n,)."""
    under = max(loudness(bed[start : start + len(sound)]), 1e-4)
    factor = under * decibels(snr_db) / loudness(sound)
    return np.asarray(sound * np.float32(factor), np.float32)
