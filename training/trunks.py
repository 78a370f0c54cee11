"""Trunks: the networks of an experiment, to which heads are fitted."""

from dataclasses import dataclass

from monitor.errors import DatasetError
from monitor.model.networks import Network
from training.checkpoint import RunFolder
from training.data.splits import Split, split
from training.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trained network without a background, and what it was trained on."""

    network: Network
    folder: RunFolder
    parts: Split
    kept_out: tuple[int, ...] = ()
    """Folds of negatives that are kept out beside those of the test."""
    folds: tuple[int, ...] = ()
    """Folds that test it."""


def train_trunks(experiment: Experiment) -> tuple[list[Trunk], Trunk]:
    """Train a network for each test, and the one that is shipped.

    Raises:
        DatasetError: A network or its heads would have no negatives to learn from.
    """
    _check_negatives(experiment)
    settings, manifest = experiment.settings, experiment.material.manifest
    folder = experiment.folder
    if not experiment.job.cross_validate:
        parts = split(manifest, settings.test_folds, settings.validation_folds)
        network = experiment.network(parts, (), folder, "training")
        only = Trunk(network, folder, parts, (), settings.test_folds)
        return [only], only
    tested = []
    for fold in settings.test_folds or manifest.folds:
        parts = split(manifest, [fold], settings.validation_folds)
        kept_out, own = experiment.negatives_with(fold), folder.part(f"fold{fold}")
        network = experiment.network(parts, kept_out, own, f"fold {fold}")
        tested.append(Trunk(network, own, parts, kept_out, (fold,)))
    parts, own = split(manifest, (), settings.validation_folds), folder.part("final")
    network = experiment.network(parts, (), own, "all folds")
    return tested, Trunk(network, own, parts)


def _check_negatives(experiment: Experiment) -> None:
    settings = experiment.settings
    folds: list[tuple[int, ...]] = [()]
    if experiment.job.cross_validate:
        tests = settings.test_folds or experiment.material.manifest.folds
        folds = [experiment.negatives_with(fold) for fold in tests]
    for kept_out in folds:
        without = (*settings.negatives_test_folds, *kept_out)
        if not experiment.material.negatives_without(without):
            raise DatasetError(
                "--places: all negatives are in the folds of the test, "
                f"{', '.join(map(str, without))}, and none is left to learn from; give "
                "more of them, or other negatives_test_folds in --settings"
            )
