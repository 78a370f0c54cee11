"""A pretrained trunk: training begins with the network of a model file.

The trunk of the included model learned from AudioSet and city sounds what a few dozen
clips cannot teach; only heads are new.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.errors import UsageError
from monitor.model.model_file import load_model
from monitor.model.networks import Network
from monitor.model.trained import TrainedModel, network_of
from monitor.text import counted
from training.config import INCLUDED_MODEL, NOT_PRETRAINED, TrainingSettings
from training.data.manifest import Clip, Manifest, count_marked
from training.evaluate.clips import TRAINED_CLIPS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """The model whose trunk networks begin with."""

    model: TrainedModel
    freezes: bool
    """The trunk stays as it is: the recordings are too few to move it."""

    @property
    def notice(self) -> str:
        """Licence notice for a model file that begins with it."""
        card = self.model.card
        return f"Begins with the network of the model {card.name}: {card.licence}"

    def begin(self, network: Network) -> None:
        """Give a network of the same architecture the trunk."""
        trained = self.model.network
        network.normalise.load_state_dict(trained.normalise.state_dict())
        network.blocks.load_state_dict(trained.blocks.state_dict())
        network.blocks.requires_grad_(not self.freezes)

    def check_test(self, clips: Sequence[Clip]) -> None:
        """Check that a test is of clips on which the model was not trained.

        Raises:
            UsageError: It was trained on some of them.
        """
        known = self.model.card.training.get(TRAINED_CLIPS)
        count = count_marked(clips, known) if isinstance(known, str) else 0
        if count:
            raise UsageError(
                f"--from: the model {self.model.card.name} was trained on {count} of "
                f"the {len(clips)} clips of the test, whose figures would be too good; "
                "take --from none, or --test-folds none"
            )


def find_pretrained(
    settings: TrainingSettings, manifest: Manifest, cross_validate: bool
) -> Pretrained | None:
    """Read the model that training begins with; None: there is none.

    Args:
        settings: Name the model, and the network that is to begin with it.
        manifest: The recordings; few leave the trunk as it is.
        cross_validate: All folds are tested, or those of the settings.

    Raises:
        UsageError: The model has another architecture, or another input.
        ModelFileError: The file cannot be used.
    """
    origin = settings.pretrained.model
    if origin == NOT_PRETRAINED:
        return None
    model = load_model(None if origin == INCLUDED_MODEL else origin)
    if model.card.preset != settings.preset:
        raise UsageError(
            f"--from: the model {model.card.name} has the network "
            f"{model.card.preset}, and --preset is {settings.preset}; choose the same, "
            "or --from none"
        )
    own = model.spec.model_copy(update={"background": None}).model_dump()
    for key, value in settings.spec.model_dump().items():
        if value != own[key]:
            raise UsageError(
                f"--from: the model {model.card.name} has spec.{key} {own[key]}, and "
                f"the settings have {value}; leave it out, or take --from none"
            )
    recordings = len({clip.group for clip in manifest.clips})
    freezes = recordings < settings.pretrained.fewest_recordings
    trained = TrainedModel(network_of(model), model.spec, model.card)
    found = Pretrained(trained, freezes)
    tested = settings.test_folds or (manifest.folds if cross_validate else ())
    found.check_test([clip for clip in manifest.clips if clip.fold in tested])
    logger.info(
        "training begins with the network of the model %s, %s",
        model.card.name,
        f"of which {counted(recordings, 'recording')} are too few to change more "
        "than the heads"
        if freezes
        else "which goes on to learn",
    )
    return found
