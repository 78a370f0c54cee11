"""`sound-monitor check`: validates the configuration."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

from monitor.commands.arguments import ConfigOption, JsonOption, ModelOption, flag
from monitor.commands.process import print_json, print_line, print_lines, print_table
from monitor.errors import ConfigError
from monitor.text import counted

if TYPE_CHECKING:
    from monitor.commands.configuration_check import ConfigurationCheck
    from monitor.model.thresholds import CurvePoint
    from monitor.runtime.loading import ChosenModels

HELP = """Validate the configuration.

Shows what each setting means: sources, files, where alerts go, and for each
label its rule, whether the rule can fire at all, and its latency: the longest
time from the onset of a sound to its report, if the network recognises the
sound at once.  Every problem is listed; the exit code is 2 if there is one.

If the model was measured in recordings of places, a second table shows what
to expect with the chosen sensitivity: the share of sounds detected near (12
to 20 dB above the background) and far (6 to 12 dB), the time until they are
reported, and the false alarms, with the upper limit of 95 % confidence; where
the model has them, also figures of clips: the share that reaches the
threshold, if it is that of the model, and the average precision (AP).
Figures of a group, such as alarm, may be of some of its members alone:
docs/labels.md says of which.  Nothing is expected of a label whose rule has
durations of its own.

Nothing is listened to.  With --try-sources, each live source is, for a few
seconds: what it delivers and what a camera offers is shown, and the exit code
is 1 if one of them does not work.

Examples:
  sound-monitor check
  sound-monitor check --try-sources
  sound-monitor check --config config.yaml
  sound-monitor check --model here.safetensors
"""


def check(
    config: ConfigOption = None,
    model: ModelOption = None,
    try_sources: Annotated[
        bool, flag("--try-sources", "Listen to each live source for a few seconds.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Print the meaning of the configuration, and its problems; loads no torch."""
    from monitor.audio.sources.microphone import list_devices
    from monitor.commands.configuration import load, with_options
    from monitor.commands.configuration_check import check_configuration

    try:
        configuration = load(config).fitting(model)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"problems": str(error).splitlines()})
        return ConfigError.exit_code
    chosen = with_options(configuration.config, model=model)
    configuration = replace(configuration, config=chosen)
    result = check_configuration(configuration, list_devices)
    if try_sources:
        from monitor.commands.source_trial import try_configured

        result.trials = try_configured(result.live, configuration)
    if as_json:
        path = configuration.path
        origin = {"path": path and str(path), "reason": configuration.reason}
        print_json(
            {
                "configuration": origin,
                "bundle": configuration.bundle,
                **_facts(result),
            }
        )
    else:
        print_line(configuration.sentence)
        print_line()
        _print_report(result)
    if result.problems:
        return ConfigError.exit_code
    return int(not all(trial.works for trial in result.trials.values()))


def _facts(result: "ConfigurationCheck") -> dict[str, Any]:
    cards = () if result.models is None else result.models.cards
    dumped = [card.model_dump(mode="json") for card in cards]
    return {
        "model": dumped[0] if dumped else None,
        "models": dumped,
        "sources": result.sources,
        "labels": result.labels,
        "expected": {
            label: point.model_dump() for label, point in result.expected.items()
        },
        "files": {name: path and str(path) for name, path in result.files.items()},
        "false_alarms_per_hour": result.false_alarms_per_hour,
        "alerts": result.endpoints,
        "publishing": result.publishing or None,
        "trials": {name: asdict(trial) for name, trial in result.trials.items()},
        "notes": result.notes,
        "problems": result.problems,
    }


def _print_report(result: "ConfigurationCheck") -> None:
    from monitor.commands.model import card_line

    header = ("SOURCE", "INPUT", "DESCRIPTION", "STATE")
    print_table(header, [tuple(source.values()) for source in result.sources])
    print_line()
    if result.trials:
        trials = result.trials.items()
        rows = [
            (it, "yes" if that.works else "NO", that.sentence) for it, that in trials
        ]
        print_table(("SOURCE", "WORKS", "TRIAL"), rows, wraps=True)
        print_line()
    if result.models is not None:
        for description in result.models.descriptions:
            print_line(card_line(description))
        _print_silent(result.models)
        print_line()
        _print_labels(result, result.models)
        print_line()
    if result.expected or any(it["text"] for it in result.labels.values()):
        _print_expected(result)
        print_line()
    if result.endpoints:
        print_table(("ENDPOINT", "DESTINATION"), list(result.endpoints.items()))
        print_line()
    for name, file in result.files.items():
        print_line(f"{name}: {'none' if file is None else file}")
    if result.publishing:
        print_line(
            "publish: records of {monitor} go to {target}".format_map(result.publishing)
        )
    print_line()
    for note in result.notes:
        print_line(f"note: {note}")
    for problem in result.problems:
        print_line(f"problem: {problem}")
    problems = counted(len(result.problems), "problem")
    print_line(f"{problems} found" if result.problems else "the configuration is valid")


def _print_silent(models: "ChosenModels") -> None:
    """Say what is scored without being reported, and by which source."""
    reported = models.labels.all_reported
    silent = [label for label in models.names if label not in reported]
    if silent:
        print_line(f"silent   {', '.join(silent)}")
    if len({*models.labels.reported.values()}) > 1:
        for source, labels in models.labels.reported.items():
            print_line(f"labels   {source}: {', '.join(labels)}")


def _print_labels(result: "ConfigurationCheck", models: "ChosenModels") -> None:
    """Say of the labels what they are, and by which rules they are detected."""
    labels = result.labels
    has_several = len(models.cards) > 1
    texts = {label: _text(it) for label, it in labels.items() if it["text"]}
    if texts:
        print_table(("LABEL", "SOUND"), list(texts.items()), wraps=True)
        print_line()
    titles = (title for title, *_ in _LABEL_COLUMNS)
    print_table(
        ("LABEL", *(("MODEL",) if has_several else ()), "CAN FIRE", *titles),
        [
            (label, *((it["model"],) if has_several else ()), *_rule_cells(it))
            for label, it in labels.items()
        ],
    )


def _text(facts: dict[str, Any]) -> str:
    members = f" Members: {', '.join(facts['members'])}." if facts["members"] else ""
    return f"{facts['text']}{members}"


def _print_expected(result: "ConfigurationCheck") -> None:
    from monitor.commands.model import EXPECTED_COLUMNS, EXPECTED_NOTES, rate_text

    labels, expected = result.labels, result.expected
    has_clips = any(facts["clips"] for facts in labels.values())
    clips = ("IN CLIPS",) if has_clips else ()
    print_table(
        ("LABEL", "SENSITIVITY", *EXPECTED_COLUMNS, *clips),
        [
            (label, *_expected_cells(facts, expected.get(label))[: 5 + len(clips)])
            for label, facts in labels.items()
        ],
    )
    total, known = result.false_alarms_per_hour, len(expected)
    if expected:
        of_which = "all" if known == len(labels) else f"{known} of the"
        print_line(
            f"False alarms of {of_which} {len(labels)} labels together: "
            f"{rate_text(total)}."
        )
        print_lines(EXPECTED_NOTES)
    if known < len(labels):
        others = "the others" if expected else "these labels"
        print_line(f"Nothing was measured for {others} with these rules.")
    worst = max(expected, key=lambda it: expected[it].false_alarms_per_hour, default="")
    if total > 1 and labels[worst]["sensitivity"]:
        print_line(
            f"hint: a lower sensitivity brings fewer false alarms; most are of {worst}"
        )


def _expected_cells(
    facts: dict[str, Any], point: "CurvePoint | None"
) -> tuple[str, ...]:
    """Cells of a label: its sensitivity, its figures in places, those in clips."""
    from monitor.commands.labels import UNMEASURED
    from monitor.commands.model import expected_cells
    from monitor.config.detection import DEFAULT_SENSITIVITY

    sensitivity, clips = facts["sensitivity"], facts["clips"]
    near, *others = expected_cells(point)
    if point is None or (point.detected_near is None and point.detected_far is None):
        near = "-" if clips else UNMEASURED
    in_clips = "-"
    if clips:
        # The share holds for the threshold of the model alone.
        share = (
            f"{clips['detected']:.0%}, " if sensitivity == DEFAULT_SENSITIVITY else ""
        )
        in_clips = f"{share}AP {clips['average_precision']:.2f}"
    return ("-" if sensitivity is None else f"{sensitivity:g}", near, *others, in_clips)


_LABEL_COLUMNS = (
    ("ONSET", "onset_threshold", ".3f", ""),
    ("OFFSET", "offset_threshold", ".3f", ""),
    ("SMOOTHING", "smoothing_hops", "d", ""),
    ("MIN ON", "min_duration_on_seconds", ".1f", " s"),
    ("MIN OFF", "min_duration_off_seconds", ".1f", " s"),
    ("REFRACTORY", "refractory_seconds", ".1f", " s"),
    ("SHORTEST", "shortest_sound_seconds", ".1f", " s"),
    ("LATENCY", "latency_bound_seconds", ".1f", " s"),
)
"""Title, key, format and unit."""


def _rule_cells(facts: dict[str, Any]) -> tuple[str, ...]:
    figures = (f"{facts[key]:{form}}{unit}" for _, key, form, unit in _LABEL_COLUMNS)
    return ("yes" if facts["can_fire"] else "NO", *figures)
