"""Checks before the work: what would fail, or mean nothing, hours later."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from pydantic import ValidationError

from monitor.errors import DatasetError, ModelFileError, UsageError
from monitor.model.card import ModelCard, first_fault
from monitor.model.networks import Network, build_network
from monitor.model.thresholds import CURVE_POINTS, CurvePoint, Thresholds
from monitor.model.trained import TrainedModel, load_model, save_model
from monitor.text import counted
from training.config import NOT_PRETRAINED, WITH_BACKGROUND, TrainingSettings
from training.data.manifest import NO_FOLD, Manifest
from training.data.places import Places, find_places
from training.data.splits import Split, split
from training.distill.teacher import Teacher
from training.evaluate.metrics import clip_figures
from training.evaluate.out_of_fold import Calibration
from training.evaluate.thresholds import Threshold
from training.mixtures.material import DataPaths, Material

logger = logging.getLogger(__name__)

HONEST_GROUPS = 30
"""With fewer recordings, an accuracy near a half is uncertain by 18 points and more."""


MakeCard = Callable[[Network, Calibration, dict[str, Any]], ModelCard]
"""Makes the card of a network, from its calibration and the figures of its test."""


def check_model_file(
    out: Path,
    settings: TrainingSettings,
    labels: Sequence[str],
    make_card: MakeCard,
    places: Places | None = None,
) -> None:
    """Write a model file beside `out` as at the end, read it and remove it.

    Raises:
        UsageError: The card of the model would break a rule.
        ModelFileError: The file cannot be written or read.
    """
    count = len(labels)
    figures = clip_figures(np.eye(count), np.arange(count), [""] * count, labels)
    figures["confusion"] = [[10] * count] * count  # as long as in a true report
    threshold = Threshold(0.95, 0.123456789, 0.123456789, False)
    calibration = Calibration(np.full(count, 1.1, np.float32), (threshold,) * count)
    network = build_network(settings.preset, settings.spec, count)
    try:
        card = make_card(network, calibration, figures)
        if places is not None:
            card = _with_places(card, list(places.names().values()))
    except ValidationError as error:
        reason = first_fault(error)
        raise UsageError(f"the model could not be stored: {reason}") from None
    trial = out.with_name(f".trial-{token_hex(4)}")
    try:
        save_model(trial, TrainedModel(network, settings.spec, card), half=True)
        load_model(trial)
    except ModelFileError as error:
        raise ModelFileError(str(error).replace(str(trial), str(out))) from None
    finally:
        trial.unlink(missing_ok=True)


def _with_places(card: ModelCard, names: Sequence[str]) -> ModelCard:
    """Return the card with curves and with figures of places, as long as in truth."""
    numbers = {f"figure_with_a_long_name_{n}": 0.1234567890123456 for n in range(20)}
    few = dict.fromkeys(sorted(names, key=len)[-6:], 0.123)
    figures = {
        "per_label": {key: {**numbers, "limiting": few} for key in card.labels},
        "teacher_detects": dict.fromkeys(card.labels, few),
    }
    threshold = 0.123456789
    point = CurvePoint(
        onset=threshold,
        detected_near=0.1234567890123456,
        detected_far=0.1234567890123456,
        latency_seconds=0.1234567890123456,
        false_alarms_per_hour=0.1234567890123456,
        false_alarms_per_hour_at_most=0.1234567890123456,
    )
    thresholds = Thresholds(
        onset=threshold, offset=threshold / 2, curve=(point,) * CURVE_POINTS
    )
    return card.model_copy(
        update={
            "thresholds": dict.fromkeys(card.labels, thresholds),
            "report": {**card.report, "places": figures},
        }
    )


def check_places(
    paths: DataPaths, settings: TrainingSettings, cross_validate: bool
) -> None:
    """Check that a network can learn from places, and be tested in them.

    Raises:
        UsageError: It cannot.
        DatasetError: As `find_places`.
    """
    if settings.spec.background is not None:
        raise UsageError("spec.background: comes with --places; leave it out")
    if not paths.places:
        if paths.place_pattern is not None:
            raise UsageError("--place-pattern needs --places")
        return
    if settings.preset not in WITH_BACKGROUND:
        raise UsageError(
            f"--places: the network {settings.preset} does not know the background of "
            f"a sound; choose --preset {' or '.join(WITH_BACKGROUND)}"
        )
    if not paths.negatives:
        raise UsageError(
            "--places needs --negatives too: a place has few of the sounds that "
            "resemble a label"
        )
    if not (cross_validate or settings.test_folds):
        raise UsageError(
            "--places needs a test, whose events set the thresholds: give "
            "--cross-validate or --test-folds"
        )
    find_places(paths.places, paths.place_pattern)


def load_teacher(path: Path | None, settings: TrainingSettings) -> Teacher | None:
    """Load the teacher, or warn of a network that should have one.

    Raises:
        UsageError: It cannot be loaded.
    """
    if path is not None:
        if settings.pretrained.model != NOT_PRETRAINED:
            raise UsageError(
                "--teacher: gives a network its first weights, as --from does; leave "
                "out one of them"
            )
        return Teacher(path, settings.teacher.sample_rate)
    begins_anew = settings.pretrained.model == NOT_PRETRAINED
    if settings.preset in WITH_BACKGROUND and begins_anew:
        logger.warning(
            "without --from and --teacher, the network %s begins with random weights, "
            "and has %s to learn from the labels alone: give one, or more epochs",
            settings.preset,
            counted(settings.optimiser.epochs, "epoch"),
        )
    return None


def check_material(
    material: Material, settings: TrainingSettings, cross_validate: bool
) -> None:
    """Check labels and splits, and warn of a test that says little.

    Raises:
        DatasetError: There is no such fold, nothing is left to learn from, or nothing
            to distinguish.
    """
    manifest = material.manifest
    labels = manifest.labels
    if len(labels) == 1 and material.negatives is None:
        raise DatasetError(
            f"there is one label only, {labels[0]!r}, and nothing to tell it from: "
            "give recordings of other sounds by --negatives, or the folder in which "
            "each sub-folder is a label"
        )
    tests: Iterable[Sequence[int]] = [settings.test_folds]
    if cross_validate:
        tests = [[fold] for fold in settings.test_folds or manifest.folds]
    parts = [split(manifest, test, settings.validation_folds) for test in tests]
    for part in parts:
        unknown = _without(manifest, part.train)
        if unknown and not cross_validate:
            raise DatasetError(
                "labels with all clips in the folds for test or validation, and none "
                f"to learn from: {', '.join(unknown)}; choose other folds ('none' "
                "trains on everything), or add recordings of these labels"
            )
        if unknown:
            logger.warning(
                "labels with all clips in one fold, whose network does not learn "
                "them: %s",
                ", ".join(unknown),
            )
    if settings.split != "random":
        _warn_of_torn_groups(manifest)
    _check_test(manifest, parts)


def _warn_of_torn_groups(manifest: Manifest) -> None:
    folds: dict[str, set[int]] = defaultdict(set)
    for clip in manifest.clips:
        folds[clip.group] |= {clip.fold} - {NO_FOLD}
    if torn := [group for group, own in folds.items() if len(own) > 1]:
        logger.warning(
            "%d recordings have clips in several folds, such as %s: a test on a fold "
            "is no test on new recordings; --split group deals whole ones",
            len(torn),
            torn[0],
        )


def _check_test(manifest: Manifest, parts: Sequence[Split]) -> None:
    tested = [index for part in parts for index in part.test]
    if not tested:
        return
    if untested := _without(manifest, tested):
        logger.warning("labels without a clip in the test: %s", ", ".join(untested))
    groups = len({manifest.clips[index].group for index in tested})
    if groups < HONEST_GROUPS:
        logger.warning(
            "the test has %d clips of %d recordings: by chance alone its accuracy may "
            "be wrong by up to %.0f points%s",
            len(tested),
            groups,
            min(100.0, 98 / groups**0.5),  # 1.96 deviations of a share of a half
            "; --cross-validate tests all recordings" if len(parts) == 1 else "",
        )


def _without(manifest: Manifest, clips: Iterable[int]) -> list[str]:
    """Labels that none of these clips has."""
    present = {manifest.clips[index].label for index in clips}
    return [
        label for index, label in enumerate(manifest.labels) if index not in present
    ]
