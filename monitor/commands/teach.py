"""`sound-monitor teach`: a label from a few examples."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import (
    ConfigOption,
    JsonOption,
    ModelOption,
    argument,
    flag,
    option,
)
from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.model.taught import TaughtLabel
    from monitor.runtime.examples import Clip, Embedder, Example, Sound
    from monitor.runtime.teaching import Report

HELP = """Teach a label from three to fifty examples of its sound.

CLIP is a recording of one example, of half a second to a minute.  They should
differ as the sound does: other distances, rooms and hours.  With
--from-events, CLIP is the id of an event whose clip was kept here ('privacy:
clips'); 'sound-monitor events --json' prints ids.

The report says what to expect before the label is switched on: how many of
the examples are detected if each is left out in turn, false alarms in places,
and when it would have been reported in the last week, if the monitor keeps
embeddings ('store: {embeddings: true}').

The label is a small file in the folder 'labels' of state_dir.  The same clips
give the same file.  'labels:' in config.yaml switches it on and off; the
model that it was taught on must listen, as with 'models: [urban, world]'.
It rests on recordings for non-commercial use: see docs/teach.md.

Examples:
  sound-monitor teach our_bell ring1.wav ring2.wav ring3.wav
  sound-monitor teach our_bell rings/*.flac --json
  sound-monitor teach gate --from-events 1f0c2ab3 77d01e5c 9be2a044
"""


def teach(
    name: Annotated[str, argument("NAME", "The label.")],
    clips: Annotated[
        list[str], argument("CLIP", "Recordings of examples, or ids of events.")
    ],
    from_events: Annotated[
        bool, flag("--from-events", "The CLIPs are ids of events recorded here.")
    ] = False,
    model: ModelOption = None,
    out: Annotated[
        Path | None, option("FILE", "File to write, instead of that in state_dir.")
    ] = None,
    force: Annotated[
        bool, flag("--force", "Replace a taught label of that name.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Teach a label, write its file, and print what to expect of it."""
    # What can be rejected is, before the slow imports and before anything is read.
    _check_number(clips)
    from monitor.commands.configuration import load
    from monitor.commands.process import limit_threads, print_json
    from monitor.model.card import TAUGHT_MODEL
    from monitor.model.taught import taught_path, write_taught

    configuration = load(config)
    chosen = TAUGHT_MODEL if model is None else str(model)
    path = out or taught_path(configuration.state_dir, name)
    _check_name(name, path, force, (chosen, *configuration.config.model_files))
    _check_negatives(chosen)
    limit_threads(1)
    examples, newest = _clips(clips, from_events, configuration)
    taught, report = _taught(name, examples, newest, chosen, configuration)
    write_taught(path, taught)
    if as_json:
        print_json(_facts(taught, report, path))
    else:
        _print(taught, report, path, configuration)
    return 0


def _check_number(clips: Sequence[str]) -> None:
    from monitor.model.taught import FEWEST_CLIPS, MOST_CLIPS

    if len(clips) < FEWEST_CLIPS:
        raise UsageError(
            f"CLIP: {len(clips)} given; a label needs {FEWEST_CLIPS} examples or more"
        )
    if len(clips) > MOST_CLIPS:
        raise UsageError(
            f"CLIP: {len(clips)} given; at most {MOST_CLIPS} are taken: choose those "
            "that differ most, in distance, room and background; with thousands, "
            "'sound-monitor train' makes a model"
        )


def _check_name(
    name: str, path: Path, force: bool, models: Iterable[str | None]
) -> None:
    from monitor.model.card import read_card
    from monitor.model.catalogue import known_labels
    from monitor.model.taught import label_problem

    if (problem := label_problem(name)) is not None:
        raise UsageError(f"NAME: {name!a:.80} cannot be a label: {problem}")
    for file in models:
        card = read_card(file).card
        if name in known_labels(card):
            raise UsageError(
                f"NAME: {name} is a label of the model {card.name} already: choose "
                "another name"
            )
    if path.exists() and not force:
        raise UsageError(
            f"NAME: {path} exists: the label was taught before; choose another name, "
            "or replace it with --force"
        )


def _check_negatives(model: str) -> None:
    from monitor.model.negatives import negatives_path

    path = negatives_path(model)
    if not path.exists():
        raise UsageError(
            f"--model: {model} has no negatives, which a label needs: {path} is not "
            "there; 'python -m training.negative_embeddings' makes it"
        )


def _clips(
    given: Sequence[str], from_events: bool, configuration: "Configuration"
) -> tuple[Sequence["Clip"], float | None]:
    """Return the clips, and the end of the newest event if they are of events."""
    from monitor.runtime.examples import Clip

    if not from_events:
        return [Clip(Path(each)) for each in given], None
    from monitor.runtime.event_clips import clips_of_events

    settings = configuration.config.clips
    folder = configuration.state_dir / settings.path
    found = clips_of_events(folder, settings, given)
    return found.clips, found.newest_event_seconds


def _taught(
    name: str,
    clips: Sequence["Clip"],
    newest_event_seconds: float | None,
    model: str,
    configuration: "Configuration",
) -> tuple["TaughtLabel", "Report"]:
    from monitor.model.classifier import Classifier
    from monitor.model.model_file import load_model
    from monitor.model.negatives import negatives_path, read_negatives
    from monitor.model.taught import FEWEST_CLIPS
    from monitor.runtime.examples import Embedder, read_sounds
    from monitor.runtime.last_week import last_week
    from monitor.runtime.teaching import Lesson, teach

    loaded = load_model(model)
    negatives = read_negatives(negatives_path(model))
    lesson = Lesson(
        name,
        loaded.card.name,
        loaded.network_digest,
        loaded.card.labels,
        newest_event_seconds,
    )
    if negatives.card.network != lesson.network:
        raise UsageError(
            f"--model: {negatives_path(model)} was made for another model than "
            f"{loaded.card.name!r}: make it again with 'python -m "
            "training.negative_embeddings'"
        )
    settings = configuration.config
    gate = settings.detection.level_gate_dbfs
    sounds = read_sounds(clips, loaded.spec, gate)
    if len(sounds) < FEWEST_CLIPS:
        raise UsageError(
            f"CLIP: {len(clips)} given, but only {len(sounds)} differ; a label needs "
            f"{FEWEST_CLIPS} examples or more"
        )
    embedder = Embedder(Classifier(loaded, "cpu"))
    database = settings.store.path
    week = None
    if database is not None:
        week = last_week(
            configuration.state_dir / database,
            datetime.now(UTC),
            model=lesson.model,
            network=lesson.network,
            features=embedder.features,
        )
    return teach(lesson, _embedded(embedder, sounds), negatives, week)


def _embedded(embedder: "Embedder", sounds: Sequence["Sound"]) -> list["Example"]:
    """Embed the examples, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(file=sys.stderr)
    bar = track(
        sounds,
        "examples",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    return [embedder.example(sound) for sound in bar]


def _facts(taught: "TaughtLabel", report: "Report", path: Path) -> dict[str, object]:
    from monitor.text import path_text, utc_text

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


def _print(
    taught: "TaughtLabel", report: "Report", path: Path, configuration: "Configuration"
) -> None:
    from monitor.commands.process import print_line
    from monitor.text import counted, path_text

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
    _print_week(report, configuration)
    if report.known:
        named = ", ".join(f"{label} ({score:.2f})" for label, score in report.known)
        print_line(f"the model knows the examples as: {named}")
    if report.resembling:
        named = ", ".join(f"{it} ({share:.0%})" for it, share in report.resembling)
        print_line(f"would be reported too: {named} of these sounds")
    for sentence in advice(report):
        print_line(f"what would help: {sentence}")
    print_line(f"wrote {path_text(path)}")
    print_line(f"To switch it on, add {card.label} to 'labels:' in config.yaml.")


def _print_week(report: "Report", configuration: "Configuration") -> None:
    from monitor.commands.process import print_line
    from monitor.runtime.event_clips import clip_at
    from monitor.text import local_time

    if (week := report.week) is None:
        print_line(
            "alarms in the last week here: unknown, no embeddings were kept; set "
            "store.embeddings: true"
        )
        return
    print_line(f"alarms in the last week here, {week.hours:.1f} hours: {week.alarms}")
    folder = configuration.state_dir / configuration.config.clips.path
    for each in week.first:
        moment = datetime.fromtimestamp(each.seconds, UTC)
        sound = clip_at(folder, moment)
        heard = "" if sound is None else f"  {sound}"
        print_line(f"  {local_time(moment)}  {each.source}{heard}")
    if week.alarms > len(week.first):
        print_line(f"  and {week.alarms - len(week.first)} more")


def advice(report: "Report") -> list[str]:
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
    if report.week is None:
        found.append("a week with store.embeddings: true, and teaching it again")
    elif report.week.alarms > report.week.hours:
        found.append(
            "a lower sensitivity of the label, if those alarms are false: "
            "detection.labels"
        )
    return found
