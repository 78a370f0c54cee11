"""The second stage of a network: heads that know the background of places."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monitor.model.card import ModelCard
from monitor.model.classifier import Classifier
from monitor.model.networks import Network, with_background
from monitor.model.networks.mobile import SkipHead
from monitor.model.trained import TrainedModel, to_stored
from monitor.spec import BackgroundSpec, ModelSpec
from training.checkpoint import RunFolder
from training.config import TrainingSettings
from training.data.decoded import Advance
from training.data.manifest import Clip
from training.data.places import PLACE_PARTS, Places
from training.distill.teacher import Teacher
from training.heads.beds import BedMaker
from training.heads.fit import FITS, TRUNK_SHARE, fit_head
from training.heads.masks import TeacherMask
from training.heads.streams import ColumnGrid, StreamMaker
from training.heads.views import ViewMaker, stored_views
from training.mixtures.material import Material
from training.profile import timed

_STREAM_KEYS = frozenset(("stream_seconds", "teacher_score"))
"""Settings of the heads that change the streams; the others change the fit alone."""
_FIT_KEYS = frozenset(
    (
        *("steps", "batch_streams", "learning_rate", "weight_decay", "dropout"),
        *("noise", "streams"),
    )
)


@dataclass(frozen=True, slots=True)
class Heads:
    """Networks with one trunk that differ in their heads."""

    all_places: Network
    """Its head was fitted on all places."""
    without: Mapping[int, Network]
    """By the part of the places on which the head was not fitted."""

    def shifted(self, shift: float) -> "Heads":
        """Return networks whose logits are larger by `shift`."""
        return Heads(
            _shifted(self.all_places, shift),
            {part: _shifted(each, shift) for part, each in self.without.items()},
        )


class HeadStage:
    """Fits heads to the networks of a run."""

    def __init__(
        self,
        material: Material,
        settings: TrainingSettings,
        teacher: Teacher | None,
        workers: int,
        stop: threading.Event,
        advance: Advance,
    ) -> None:
        assert material.places is not None
        assert material.negatives_store is not None
        self._places: Places = material.places
        self._negatives_store = material.negatives_store
        self._material, self._settings = material, settings
        self._workers, self._stop, self._advance = workers, stop, advance
        self.spec: ModelSpec = settings.spec.model_copy(
            update={"background": BackgroundSpec()}
        )
        """Of the networks with heads."""
        self.mask: TeacherMask | None = None
        if teacher is not None:
            self.mask = TeacherMask(
                teacher,
                material.manifest.labels,
                settings.teacher.classes,
                settings.heads.teacher_score,
            )

    def fit(
        self,
        trunk: Network,
        clips: Sequence[Clip],
        negatives: Sequence[Clip],
        folder: RunFolder,
    ) -> Heads:
        """Fit one head for each part of the places, and one on all of them.

        Args:
            trunk: A network without a background; it stays as it is.
            clips: On which it was trained.
            negatives: The same of the negatives.
            folder: Of the network; streams and heads are kept there.
        """
        settings = self._settings
        network = with_background(trunk, self.spec)
        key = self._key(trunk, clips, negatives)
        with timed("streams for the heads"):
            views = stored_views(
                folder.path / "views",
                key,
                self._view_maker(network, clips, negatives),
                settings.heads.streams,
                self._workers,
                self._stop,
                self._advance,
            )
        recipe = settings.heads.model_dump(mode="json", include=set(_FIT_KEYS))
        facts = {**key, **recipe, "trunk_share": TRUNK_SHARE, "fits": FITS}
        found: dict[int | None, Network] = {}
        for part in (*range(PLACE_PARTS), None):
            own = folder.part("heads").part("all" if part is None else f"part{part}")
            weights = own.read_head(facts)
            if weights is None:
                with timed("fit of the heads"):
                    fitted = fit_head(
                        network,
                        views.without(part),
                        self.spec,
                        settings.heads,
                        settings.seed,
                        self._stop,
                        self._advance,
                    )
                # What is tested is what is stored, in 16 bits.
                weights = fitted.half().float().head.state_dict()
                own.write_head(weights, facts)
            found[part] = _with_head(network, weights)
        return Heads(
            found[None], {part: found[part] for part in found if part is not None}
        )

    def _view_maker(
        self, network: Network, clips: Sequence[Clip], negatives: Sequence[Clip]
    ) -> ViewMaker:
        settings, labels = self._settings, self._material.manifest.labels
        card = ModelCard(name="heads", preset=settings.preset, labels=labels)
        model = to_stored(TrainedModel(network, self.spec, card))
        rate = self.spec.sample_rate
        beds = [
            BedMaker(
                self._places.of([part]),
                self._places.store,
                negatives,
                self._negatives_store,
                rate,
            )
            for part in range(PLACE_PARTS)
        ]
        grid = ColumnGrid(self.spec, network.total_stride)
        return ViewMaker(
            StreamMaker(clips, self._material.store, labels, grid),
            beds,
            Classifier(model, "cpu"),
            self.mask,
            settings.heads.stream_seconds,
            settings.seed,
        )

    def _key(
        self, trunk: Network, clips: Sequence[Clip], negatives: Sequence[Clip]
    ) -> dict[str, Any]:
        """Return what the streams and their views depend on."""
        digest = hashlib.blake2b(digest_size=16)
        for clip in (*clips, *negatives, *self._places.clips):
            digest.update(clip.digest + f"{clip.label} {clip.fold}\n".encode())
        weights = hashlib.blake2b(digest_size=16)
        for tensor in trunk.state_dict().values():
            weights.update(tensor.detach().cpu().numpy().tobytes())
        mask = self.mask
        return {
            "recordings": digest.hexdigest(),
            "network": weights.hexdigest(),
            "spec": self.spec.model_dump(mode="json"),
            "seed": self._settings.seed,
            "teacher": None if mask is None else mask.teacher.digest,
            **self._settings.heads.model_dump(mode="json", include=set(_STREAM_KEYS)),
        }


def _with_head(network: Network, weights: Mapping[str, Tensor]) -> Network:
    made = deepcopy(network).half().float()
    made.head.load_state_dict(weights)
    return made.eval()


def _shifted(network: Network, shift: float) -> Network:
    made = deepcopy(network)
    with torch.no_grad():
        for head in made.head.modules():
            if isinstance(head, SkipHead):
                head.linear.bias.add_(shift)
    return made.half().float()
