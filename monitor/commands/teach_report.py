"""The report of `sound-monitor teach`, and what switches its label on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from monitor.commands.configuration import Configuration
from monitor.commands.process import print_line
from monitor.model.card import INCLUDED, read_card
from monitor.model.catalogue import default_labels
from monitor.model.taught import TaughtCard, TaughtLabel, taught_path
from monitor.runtime.event_clips import clip_at
from monitor.runtime.teaching import Report
from monitor.text import counted, local_time, path_text, utc_text


def facts(taught: TaughtLabel, report: Report, path: Path) -> dict[str, object]:
    """Return what `teach --json` prints of a label, written to `path`."""
    card, week = taught.card, report.week
    return {
        "label": card.label,
        "file": path_text(path),
        "model": card.model,
        "preset": card.preset,
        **report.facts(),
        "missed": list(report.missed),
        "another_sound": list(report.others),
        "is_supported": report.is_supported,
        "alarm_times": None
        if week is None
        else [
            {
                "source": each.source,
                "time": utc_text(datetime.fromtimestamp(each.seconds, UTC)),
            }
            for each in week.first
        ],
        "advice": advice(report),
    }


def print_report(
    taught: TaughtLabel, report: Report, configuration: Configuration
) -> None:
    """Print what to expect of a label, and what would make it better."""
    card = taught.card
    examples = counted(report.examples, "example")
    print_line(f"{card.label}: taught from {examples} on the model {card.model}")
    if report.others:
        print_line(
            f"warning: these may be another sound than the others: "
            f"{', '.join(report.others)}"
        )
    print_line(
        f"detected, each left out in turn: {report.detected} of {report.examples}"
        + (f"; not {', '.join(report.missed)}" if report.missed else "")
    )
    print_line(
        f"alarms in {report.place_hours:.1f} hours of many places: "
        f"{report.place_alarms}; at most {report.alarms_per_hour_at_most:.1f} an hour"
    )
    _print_week(report, card.model, configuration)
    if report.known:
        named = ", ".join(f"{label} ({score:.2f})" for label, score in report.known)
        print_line(f"the model knows the examples as: {named}")
    if report.resembling:
        named = ", ".join(f"{it} ({share:.0%})" for it, share in report.resembling)
        print_line(f"would be reported too: {named} of these sounds")
    for sentence in advice(report):
        print_line(f"what would help: {sentence}")


def _print_week(report: Report, model: str, configuration: Configuration) -> None:
    if (week := report.week) is None:
        print_line(f"alarms in the last week here: unknown, {_lacking(report, model)}")
        return
    print_line(f"alarms in the last week here, {week.hours:.1f} hours: {week.alarms}")
    folder = configuration.state_dir / configuration.config.clips.path
    for each in week.first:
        moment = datetime.fromtimestamp(each.seconds, UTC)
        sound = clip_at(folder, moment)
        clip = "" if sound is None else f"  {path_text(sound)}"
        print_line(f"  {local_time(moment)}  {each.source}{clip}")
    if week.alarms > len(week.first):
        print_line(f"  and {week.alarms - len(week.first)} more")


def _lacking(report: Report, model: str) -> str:
    """Say why nothing is known of the last week."""
    if not report.other_models:
        return "no embeddings were kept; set store.embeddings: true"
    if model in report.other_models:
        return f"the embeddings that were kept are of a model {model} replaced since"
    return (
        "the embeddings that were kept are of the model "
        f"{' and '.join(report.other_models)}; let {model} listen too, the last one in "
        "'models:'"
    )


def advice(report: Report) -> list[str]:
    """Say what would make the label better; empty: nothing stands out."""
    found = []
    if report.others:
        found.append("teach the other sound as a label of its own, or leave it out")
    if report.examples < 8 or report.detected < report.examples * 0.8:
        found.append("five more examples, from another distance")
    if report.missed and report.detected >= report.examples / 2:
        found.append("more examples that sound like those that were not detected")
    if not report.is_supported:
        found.append(
            "examples that stand out from their background: half of these are no more "
            "like each other than like the sounds of many places"
        )
    if report.known and report.known[0][1] >= 0.7:
        found.append(f"the label {report.known[0][0]} of the model, which needs none")
    if report.week is None and report.other_models:
        found.append("a week in which its model listens, and teaching it again")
    elif report.week is None:
        found.append("a week with store.embeddings: true, and teaching it again")
    elif report.week.alarms > report.week.hours:
        found.append(
            "a lower sensitivity of the label, if those alarms are false: "
            "detection.labels"
        )
    return found


def print_switch(
    card: TaughtCard, model: str, path: Path, configuration: Configuration
) -> None:
    """Print where a label was written, and the settings that switch it on.

    Args:
        card: Card of the label.
        model: The model that it was taught on, as a name or a file.
        path: File of the label.
        configuration: The configuration in which it is to be switched on.
    """
    print_line(f"wrote {path_text(path)}")
    place = taught_path(configuration.state_dir, card.label)
    if path.resolve() != place.resolve():
        print_line(
            f"To be chosen, the file must lie in {path_text(place.parent)} and have "
            f"the name {place.name}."
        )
    models = _models(card, model, configuration)
    labels = _labels(card, configuration)
    if not models and not labels:
        print_line(f"'labels:' in config.yaml has {card.label} already.")
    else:
        print_line("To switch it on, write in config.yaml:")
    for key, names in (("models", models), ("labels", labels)):
        if names:
            print_line(f"  {key}: {_flow(names)}")
    for note in _notes(card, models, labels, configuration):
        print_line(note)


def _models(
    card: TaughtCard, model: str, configuration: Configuration
) -> Sequence[str]:
    """The models to be named, the one of the label last; none: it listens already."""
    files = configuration.config.model_files
    if card.model in (read_card(file).card.name for file in files):
        return ()
    own = model if model in INCLUDED else str(Path(model).absolute())
    return (*(file or INCLUDED[0] for file in files), own)


def _labels(card: TaughtCard, configuration: Configuration) -> Sequence[str]:
    """The labels to be named; none: the label is among them already."""
    config = configuration.config
    labels: Sequence[str] | None = config.labels
    if labels is None:
        cards = (read_card(file).card for file in config.model_files)
        labels = tuple(
            dict.fromkeys(it for each in cards for it in default_labels(each))
        )
    return () if card.label in labels else (*labels, card.label)


def _notes(
    card: TaughtCard,
    models: Sequence[str],
    labels: Sequence[str],
    configuration: Configuration,
) -> list[str]:
    """Say what these settings change besides, and what they do not."""
    config, found = configuration.config, []
    if models and config.model.file is not None:
        found.append("'models:' replaces model.file: remove that.")
    if labels and config.labels is None:
        found.append(
            "'labels:' replaces the default labels; the line has those that are "
            "reported now."
        )
    lacking = [
        source.name
        for source in config.sources
        if source.labels is not None and card.label not in source.labels
    ]
    if lacking:
        found.append(
            f"Sources with labels of their own need it there: {', '.join(lacking)}"
        )
    return found


def _flow(names: Sequence[str]) -> str:
    """A list in YAML, in one line."""
    text: str = yaml.safe_dump(
        list(names), default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.strip()
