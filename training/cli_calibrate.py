"""What `calibrate` does once its options are read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from monitor.model.model_file import TrainedModel, load_model, save_model
from training.material import Places
from training.progress import Display
from training.recalibrate import (
    LabelPrice,
    background_scores,
    clip_scores,
    config_fragment,
    prices,
    with_thresholds,
)
from training.tester import Tester


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false alarms may come, on material like what."""

    background: Path
    false_alarms_per_hour: float


def run_calibration(
    path: Path | None,
    budget: Budget,
    places: Places | None,
    folds: tuple[int, ...],
    out: Path | None,
    fragment: bool,
    as_json: bool,
) -> None:
    """Find thresholds for a budget, print them and write them where asked."""
    model = load_model(path)
    with Display(Console(stderr=True)) as display:
        segments, hours = background_scores(
            budget.background,
            model,
            lambda done, total: display.advance("listening", done, total),
        )
        clips = truth = None
        if places is not None:
            tester = Tester(places, display.advance, "cpu")
            windows = tester.windows(model, folds)
            clips, truth = clip_scores(model, windows), windows.truth
    labels = model.card.labels
    rate = budget.false_alarms_per_hour
    found = prices(segments, hours, rate, labels, clips, truth)
    if out is not None:
        card = with_thresholds(model.card, found)
        save_model(out, TrainedModel(model.network, model.spec, card))
    _show(found, hours, budget, fragment, as_json)


def _show(
    found: list[LabelPrice], hours: float, budget: Budget, fragment: bool, as_json: bool
) -> None:
    console = Console()
    if as_json:
        facts = {"hours": hours, "labels": [asdict(price) for price in found]}
        console.print_json(json.dumps(facts))
        return
    if fragment:
        console.print(config_fragment(found), end="", highlight=False)
        return
    console.print(
        f"{hours:.2f} hours of background, at most "
        f"{24 * budget.false_alarms_per_hour:g} false alarms a day over all labels"
    )
    table = Table("label", "onset", "offset", "a day", "at most (95 %)", "heard")
    for price in found:
        rate = f"{24 * price.threshold.false_alarms_per_hour:.2f}"
        if price.threshold.extrapolated:
            rate += " extrapolated"
        recall = "" if price.recall is None else f"{100 * price.recall:.0f} %"
        table.add_row(
            price.label,
            f"{price.threshold.onset:.3f}",
            f"{price.threshold.offset:.3f}",
            rate,
            f"{24 * price.rate_at_most:.1f}",
            recall,
        )
    console.print(table)
