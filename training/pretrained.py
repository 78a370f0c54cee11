"""A pretrained trunk: training begins with the network of a model file.

The trunk of the included model learned from AudioSet and city sounds what a few dozen
clips cannot teach; only heads are new.
"""

import logging
from collections.abc import Sequence

from monitor.errors import UsageError
from monitor.model.card import model_digest
from monitor.model.model_file import load_model
from monitor.model.networks import Network
from monitor.model.trained import network_of
from monitor.text import counted
from training.config import (
    NOT_PRETRAINED,
    TrainingSettings,
)
from training.data.discovery import URBANSOUND_LICENCE
from training.data.manifest import Clip, Manifest, count_marked, join_marks
from training.evaluate.clips import TRAINED_CLIPS

logger = logging.getLogger(__name__)

_PRESETS = ("mobile", "mn04")
"""Networks that have learned from AudioSet what few clips cannot teach."""


class Pretrained:
    """The model whose trunk networks begin with.

    Raises:
        UsageError: The model has another network than the settings, or another input.
        ModelFileError: The file cannot be used.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        origin = settings.pretrained.model
        model = load_model(origin)
        self._card = card = model.card
        if settings.preset not in _PRESETS or card.preset != settings.preset:
            raise UsageError(
                f"--from: the model {card.name} has the network {card.preset}, and "
                f"--preset is {settings.preset}; begin with a model of the preset "
                f"{' or '.join(_PRESETS)}, and choose the same, or --from none"
            )
        own = model.spec.model_copy(update={"background": None}).model_dump()
        for key, value in settings.spec.model_dump().items():
            if value != own[key]:
                raise UsageError(
                    f"--from: the model {card.name} has spec.{key} {own[key]}, and the "
                    f"settings have {value}; set it to {own[key]} in --settings, or "
                    "take --from none"
                )
        self._digest = model_digest(origin)
        self._network = network_of(model)
        self._settings = settings
        self._freezes = True

    @property
    def notice(self) -> str:
        """Licence notice for a model file that begins with it."""
        return f"Begins with the network of the model {self._card.name}: " + (
            self._card.licence
        )

    def trained_clips(self, own: str) -> str:
        """Join the marks of the clips of its training with `own`, of another one's."""
        known = self._card.training.get(TRAINED_CLIPS)
        return join_marks(own, known if isinstance(known, str) else "")

    def prepare(self, manifest: Manifest, cross_validate: bool) -> dict[str, str]:
        """Decide what the recordings can move, and check those that are kept out.

        Returns:
            What a resumed run must have too.

        Raises:
            UsageError: The model was trained on clips that test or validate.
        """
        settings = self._settings
        tested = settings.test_folds or (manifest.folds if cross_validate else ())
        kept_out = (*tested, *settings.validation_folds)
        self._check_test([clip for clip in manifest.clips if clip.fold in kept_out])
        if kept_out and manifest.licence == URBANSOUND_LICENCE in self._card.licence:
            self._refuse("UrbanSound8K")
        recordings = len({clip.group for clip in manifest.clips})
        self._freezes = recordings < settings.pretrained.fewest_recordings
        logger.info(
            "training begins with the network of the model %s, %s",
            self._card.name,
            f"of which {counted(recordings, 'recording')} are too few to change more "
            "than the heads"
            if self._freezes
            else "which goes on to learn",
        )
        return {"pretrained": self._digest}

    def begin(self, network: Network) -> None:
        """Give a network of the same architecture the trunk."""
        trained = self._network
        network.normalise.load_state_dict(trained.normalise.state_dict())
        network.blocks.load_state_dict(trained.blocks.state_dict())
        network.blocks.requires_grad_(not self._freezes)
        if self._card.preset == "mn04":
            # Of its classifier all but the last layer.
            hidden = trained.head.get_submodule("0").state_dict()
            network.head.get_submodule("0").load_state_dict(hidden)

    def _check_test(self, clips: Sequence[Clip]) -> None:
        if count := count_marked(clips, self.trained_clips("")):
            self._refuse(f"{count} of the {counted(len(clips), 'clip')} of the test")

    def _refuse(self, what: str) -> None:
        raise UsageError(
            f"--from: the model {self._card.name} was trained on {what}, so the "
            "figures of the test would be too good; take --from none or --preset "
            "article, or test nothing: --test-folds none without --cross-validate"
        )


def find_pretrained(settings: TrainingSettings) -> Pretrained | None:
    """Read the model that training begins with; None: there is none."""
    if settings.pretrained.model == NOT_PRETRAINED:
        return None
    return Pretrained(settings)
