"""Streams for the heads: a minute of sound with events of known level and label."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from monitor.detection.rules import IMPULSIVE_LABELS
from monitor.spec import ModelSpec
from training.data.decoded import ClipStore
from training.data.manifest import Clip
from training.heads.beds import Bed, BedMaker, lay, mono, vary
from training.mixtures import augment, synthetic
from training.mixtures.synthetic import LEVEL, decibels
from training.streams.scenes import audible_part

Samples = NDArray[np.float32]
Array = NDArray[np.float32]
ABSENT_DB = -99.0
"""Level of a label where it does not sound."""
_LIMITS_DB = (-40.0, 90.0)
_SNR_DB = (-5.0, 20.0)
_RIVAL_SHARE = 0.25
"""Share of events that have no label."""
_BEHIND_DB = (8.0, 25.0)
"""Levels of clips whose label is behind other sounds: the level is that of the others,
so the label is fainter."""
_SILENT_DB, _RIVAL_SILENT_DB = (20.0, 50.0), (10.0, 35.0)
"""Levels above the noise of a silent room."""
_EARLY_SHARE = 0.3
"""Share of streams with an event before there can be a background."""
_EARLY_SECONDS, _FIRST_SECONDS = (0.0, 8.0), (4.0, 14.0)
_AFTER_SHARE = 0.8
"""Share of events that end before the next one begins."""
_OVERLAP_SECONDS = (0.5, 2.5)
_PAUSES_SECONDS = ((0.0, 3.0), (4.0, 12.0), (8.0, 20.0))
_LAST_SECONDS = 3.0
"""No event begins so near the end."""
_LASTING_SHARE, _LASTING_SECONDS = 0.5, (4.0, 15.0)
"""Share of sounds of lasting labels that are made longer from clips of the same
recording, and how long they become."""
_REPEAT_SHARE, _REPEAT_SECONDS = 0.25, 4.0
"""Share of impulsive sounds that are repeated, and how long that takes at most."""
_SLOW_FADE_SHARE = 0.2
"""Share of events that fade in and out within a second, as what comes by."""
_PEAK_DB, _QUIET_DB, _QUIET_SHARE = 32.0, (10.0, 30.0), 0.1
_NOISE_DBFS, _NOISE_SHARE = (-85.0, -55.0), 0.3
_AUDIBLE_DB = -25.0
_BRIDGED_COLUMNS = 3
"""Pauses of a sound that count as sound."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, and how loud each label is in it."""

    samples: Samples
    """(1, n)."""
    snr_db: Array
    """(columns, labels): level above the bed; `ABSENT_DB` where a label is silent."""
    bed: Bed


@dataclass(frozen=True, slots=True)
class ColumnGrid:
    """The columns of a network over a stream.

    Column `k` of a window that begins with frame `k0` is column `k0 / total_stride + k`
    of the stream.
    """

    spec: ModelSpec
    total_stride: int

    def powers(self, samples: Samples) -> Array:
        """Power around each column, (n,) to (columns,); high bands count more."""
        size = self.total_stride * self.spec.hop_length
        # Column k is centred on frame k * total_stride.
        before = max(0, (size - self.spec.n_fft) // 2)
        sharp = np.diff(samples, prepend=np.float32(0)) + np.float32(0.03) * samples
        padded = np.pad(sharp, (before, size))
        columns = (len(samples) + before) // size
        parts = padded[: columns * size].reshape(columns, size)
        return np.asarray(np.square(parts).mean(axis=1), np.float32)


class StreamMaker:
    """Makes streams of given clips over beds; holds no state.

    The same generator state gives the same stream, on any thread.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        store: ClipStore,
        labels: Sequence[str],
        grid: ColumnGrid,
    ) -> None:
        self._store = store
        self._grid = grid
        self._rate = grid.spec.sample_rate
        self._impulsive = [label in IMPULSIVE_LABELS for label in labels]
        self._groups: list[dict[str, list[Clip]]] = [
            defaultdict(list) for _ in range(len(labels))
        ]
        for clip in clips:
            assert clip.label is not None
            self._groups[clip.label][clip.group].append(clip)
        self._present = [label for label, own in enumerate(self._groups) if own]

    def make(self, r: Generator, beds: BedMaker, length: int) -> Stream:
        """Make a stream of `length` samples."""
        bed = beds.make(r, length)
        silent = bed.kind == "silent"
        mix, under = bed.samples.copy(), self._grid.powers(bed.samples)
        snr = np.full((len(under), len(self._groups)), ABSENT_DB, np.float32)
        busy = np.zeros(len(self._groups))
        early = r.random() < _EARLY_SHARE
        at = r.uniform(*(_EARLY_SECONDS if early else _FIRST_SECONDS))
        while (start := int(at * self._rate)) < length - _LAST_SECONDS * self._rate:
            if r.random() < _RIVAL_SHARE:
                sound = audible_part(beds.rival(r), self._rate)[: length - start]
                level = r.uniform(*(_RIVAL_SILENT_DB if silent else _SNR_DB))
                sound = lay(bed.samples, sound, start, level)
                mix[start : start + len(sound)] += self._faded(r, sound)
            else:
                label, behind, sound = self._event(r)
                if busy[label] > at:
                    at += 1
                    continue  # two sounds of one label at a time are one
                sound = sound[: length - start]
                levels = _SILENT_DB if silent else _BEHIND_DB if behind else _SNR_DB
                sound = lay(bed.samples, sound, start, r.uniform(*levels))
                sound = self._faded(r, sound)
                mix[start : start + len(sound)] += sound
                busy[label] = at + len(sound) / self._rate + 1
                own = self._levels(sound, start, under)
                snr[:, label] = np.maximum(snr[:, label], own)
            pause = r.uniform(*_PAUSES_SECONDS[int(r.integers(len(_PAUSES_SECONDS)))])
            after = len(sound) / self._rate
            if r.random() >= _AFTER_SHARE:
                after = r.uniform(*_OVERLAP_SECONDS)
            at += after + pause
        return Stream(self._recorded(r, mix)[None], snr, bed)

    def _event(self, r: Generator) -> tuple[int, bool, Samples]:
        """Draw a label, whether it is behind others, and a sound of it, (n,)."""
        label = self._present[int(r.integers(len(self._present)))]
        groups = list(self._groups[label].values())
        sizes = np.sqrt([len(group) for group in groups])
        group = groups[int(r.choice(len(groups), p=sizes / sizes.sum()))]
        clip = group[int(r.integers(len(group)))]
        sound = mono(self._store, clip)
        if self._impulsive[label]:
            if len(sound) < 2 * self._rate and r.random() < _REPEAT_SHARE:
                longest = round(_REPEAT_SECONDS * self._rate)
                sound = augment.repeat(r, sound[None], longest, self._rate)[0]
        elif r.random() < _LASTING_SHARE:
            sound = self._longer(r, sound, group)
        varied = vary(r, sound, self._rate)
        return label, not clip.is_foreground, audible_part(varied, self._rate)

    def _longer(self, r: Generator, sound: Samples, group: Sequence[Clip]) -> Samples:
        """Append clips of the same recording."""
        wanted = round(r.uniform(*_LASTING_SECONDS) * self._rate)
        fade = self._rate // 20
        made = augment.faded(sound, fade)
        while len(made) < wanted:
            clip = group[int(r.integers(len(group)))]
            more = augment.faded(mono(self._store, clip), fade)
            overlap = min(fade, len(more) // 4, len(made))
            joined = np.zeros(len(made) + len(more) - overlap, np.float32)
            joined[: len(made)] = made
            joined[len(made) - overlap :] += more
            made = joined
        return made[:wanted]

    def _faded(self, r: Generator, sound: Samples) -> Samples:
        slow = r.random() < _SLOW_FADE_SHARE
        return augment.faded(sound, self._rate if slow else self._rate // 100)

    def _levels(self, sound: Samples, start: int, under: Array) -> Array:
        """Level of a sound above the bed in each column, (columns,), dB."""
        placed = np.zeros(start + len(sound), np.float32)
        placed[start:] = sound
        powers = np.zeros_like(under)
        own = self._grid.powers(placed)[: len(under)]
        powers[: len(own)] = own
        level = 10 * np.log10(powers / (under + 1e-12) + 1e-9)
        on = _bridged(powers > powers.max() * 10 ** (_AUDIBLE_DB / 10))
        return np.where(on, level.clip(*_LIMITS_DB), np.float32(ABSENT_DB))

    def _recorded(self, r: Generator, mix: Samples) -> Samples:
        """Set the level, and add noise of a microphone."""
        peak_db = -r.uniform(0, _PEAK_DB)
        if r.random() < _QUIET_SHARE:
            peak_db -= r.uniform(*_QUIET_DB)
        mix = augment.set_peak(mix, peak_db)
        if r.random() < _NOISE_SHARE:
            noise = synthetic.coloured_noise(r, len(mix), self._rate) / LEVEL
            mix = mix + noise * np.float32(decibels(r.uniform(*_NOISE_DBFS)))
        return mix.astype(np.float32)


def _bridged(on: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill short pauses."""
    filled = on.copy()
    places = np.flatnonzero(on)
    for before, after in pairwise(places):
        if after - before <= _BRIDGED_COLUMNS + 1:
            filled[before:after] = True
    return filled
