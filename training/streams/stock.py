"""What streams are made of: recordings chosen by fold, and how much they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from monitor.errors import DatasetError
from training.clips.manifest import Clip, Manifest
from training.clips.store import ClipStore
from training.config import TrainingSettings
from training.mixing.material import Advance, Places, gather, gather_negatives
from training.streams.scenes import SceneMaker, SceneSettings, in_foreground


@dataclass(frozen=True, slots=True)
class Folds:
    """Folds of clips and of negatives to use; none: all."""

    clips: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The recordings of some folds."""

    clips: tuple[Clip, ...] = ()
    store: ClipStore | None = None
    labels: tuple[str, ...] = ()

    def facts(self, rate: int) -> dict[str, Any]:
        store = self.store
        assert store is not None or not self.clips
        sounds = (store.sound(clip.path) for clip in self.clips) if store else ()
        seconds = sum(sound.shape[1] for sound in sounds) / rate
        return {
            "clips": len(self.clips),
            "recordings": len({clip.group for clip in self.clips}),
            "folds": sorted({clip.fold for clip in self.clips}),
            "minutes": round(seconds / 60, 2),
        }


@dataclass(frozen=True, slots=True)
class Stock:
    """A maker of streams, and what to say of its material."""

    maker: SceneMaker
    facts: dict[str, Any]
    """For JSON.  Hours made of minutes repeat themselves, and so do false alarms."""


def gather_stock(
    places: Places, folds: Folds, settings: SceneSettings, advance: Advance
) -> Stock:
    """Find the recordings for streams.

    Args:
        places: `data` is not looked at for streams without events.
        folds: Which of the recordings to take.
        settings: Of the streams.
        advance: Told how decoding goes on.

    Raises:
        DatasetError: There is nothing usable, or no such fold.
    """
    training = TrainingSettings()
    events, backgrounds = _Choice(), _Choice()
    if settings.events_per_minute > 0:
        material = gather(replace(places, negatives=()), training, advance)
        events = _choose(material.manifest, material.store, folds.clips, "recordings")
    if places.negatives:
        negatives, store = gather_negatives(places, training, advance)
        backgrounds = _choose(negatives, store, folds.negatives, "negatives")
    rate = training.spec.sample_rate
    maker = SceneMaker(
        events.clips,
        events.store,
        backgrounds.clips,
        backgrounds.store,
        events.labels,
        rate,
        settings,
    )
    facts = {
        "settings": settings.model_dump(mode="json"),
        "events": events.facts(rate),
        "backgrounds": backgrounds.facts(rate),
    }
    return Stock(maker, facts)


def _choose(
    manifest: Manifest, store: ClipStore, folds: Sequence[int], what: str
) -> _Choice:
    for fold in folds:
        if fold not in manifest.folds:
            known = ", ".join(str(number) for number in manifest.folds)
            raise DatasetError(f"there is no fold {fold} in the {what}; found {known}")
    clips = [clip for clip in manifest.clips if not folds or clip.fold in folds]
    return _Choice(in_foreground(clips), store, manifest.labels)
