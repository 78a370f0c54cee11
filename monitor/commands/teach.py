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
and alarms in the last week, if the monitor keeps embeddings ('store:
{embeddings: true}').  Each hour of the week is judged by a label that was
fitted to other hours.

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
    from monitor.commands.teach_report import facts, print_report, print_switch
    from monitor.model.card import INCLUDED, TAUGHT_MODEL
    from monitor.model.taught import taught_path, write_taught

    configuration = load(config)
    chosen = TAUGHT_MODEL if model is None else str(model)
    path = out or taught_path(configuration.state_dir, name)
    _check_name(
        name, path, force, (chosen, *configuration.config.model_files, *INCLUDED)
    )
    _check_negatives(chosen)
    limit_threads(1)
    examples, newest = _clips(clips, from_events, configuration)
    taught, report = _taught(name, examples, newest, chosen, configuration)
    write_taught(path, taught)
    if as_json:
        print_json(facts(taught, report, path))
    else:
        print_report(taught, report, configuration)
        print_switch(taught.card, chosen, path, configuration)
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
    from monitor.model.card import TAUGHT_MODEL
    from monitor.model.negatives import negatives_path

    path = negatives_path(model)
    if not path.exists():
        raise UsageError(
            f"--model: {model} has no negatives, which a label needs: {path} is not "
            f"there; leave --model out for {TAUGHT_MODEL}, or see docs/teach.md"
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
    from monitor.runtime.last_week import Week, last_week, models_kept
    from monitor.runtime.teaching import TaughtIdentity, teach

    loaded = load_model(model)
    negatives = read_negatives(negatives_path(model))
    identity = TaughtIdentity(
        name,
        loaded.card.name,
        loaded.network_digest,
        loaded.card.labels,
        newest_event_seconds,
    )
    if negatives.card.network != identity.network:
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
    week: Week | None = None
    others: tuple[str, ...] = ()
    if settings.store.path is not None:
        database, now = configuration.state_dir / settings.store.path, datetime.now(UTC)
        week = last_week(
            database,
            now,
            model=identity.model,
            network=identity.network,
            features=embedder.features,
        )
        others = models_kept(database, now) if week is None else ()
    return teach(identity, _embedded(embedder, sounds), negatives, week, others)


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
