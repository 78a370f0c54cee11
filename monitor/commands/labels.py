"""The labels that can be chosen: listed, searched and explained by `model --labels`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monitor.commands.process import print_json, print_line, print_lines, print_table
from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.model.label_search import OfferedLabel

UNMEASURED = "unmeasured"


def print_labels(file: str | None, word: str, *, as_json: bool) -> None:
    """Print the labels of a model file, or of the included models.

    Args:
        file: Model file or included model; None: all included models.
        word: What is sought in them; empty: all are listed.
        as_json: Print JSON; each label is an object.

    Raises:
        ModelFileError: The file cannot be used.
        UsageError: No label matches `word`.
    """
    from monitor.model.card import INCLUDED, read_card
    from monitor.model.catalogue import nearest
    from monitor.model.label_search import named, offered_labels, search

    models = INCLUDED if file is None else (file,)
    labels = offered_labels({model: read_card(model).card for model in models})
    exact = named(word, labels) if word else []
    found = search(word, labels) if word else labels
    if not (exact or found):
        names = list(dict.fromkeys(each.name for each in labels))
        raise UsageError(
            f"--labels: nothing matches {word!r} in the labels of "
            f"{' or '.join(models)}; {nearest(word, names)}"
        )
    if as_json:
        others = [each for each in found if each not in exact]
        print_json({"labels": [each.facts() for each in (*exact, *others)]})
    elif word:
        _print_found(exact, [each for each in found if each not in exact], labels)
    else:
        _print_all(labels)


def _print_all(labels: Sequence["OfferedLabel"]) -> None:
    _print_list([each for each in labels if each.is_listed])
    print_lines(_NOTES)
    for model in dict.fromkeys(each.model for each in labels):
        further = [x for x in labels if x.model == model and not x.is_listed]
        if further:
            print_line(
                f"{len(further)} further classes of {model} can be chosen by their own "
                "names:"
            )
            print_line(
                f"--labels WORD finds them.  They are {UNMEASURED}; one is "
                f"{further[0].name}."
            )


_NOTES = (
    "",
    "Labels that are indented are members of the group above them.",
    "DETECTED: of the sounds 12 to 20 dB above the background, in places; of world,",
    "in the places that set its thresholds.  That of a group may be of one member.",
    "FALSE/H: false alarms an hour in places.  Both at sensitivity 0.5.",
    "AP: average precision in clips.  --labels LABEL explains a label.",
)


def _print_found(
    exact: Sequence["OfferedLabel"],
    others: Sequence["OfferedLabel"],
    labels: Sequence["OfferedLabel"],
) -> None:
    for number, label in enumerate(exact):
        if number:
            print_line()
        _explain(label)
    if others and exact:
        print_line()
        print_line("These match too:")
    if others:
        # A member stands below its group, so that one sees what it belongs to.
        shown = {(each.model, each.name) for each in others}
        shown |= {(each.model, each.group or each.name) for each in others}
        _print_list([each for each in labels if (each.model, each.name) in shown])


def _print_list(labels: Sequence["OfferedLabel"]) -> None:
    print_table(
        ("LABEL", "MODEL", "DETECTED", "FALSE/H", "AP", "SOUND"),
        [_row(each) for each in labels],
        wraps=True,
    )


def _row(label: "OfferedLabel") -> tuple[str, ...]:
    point, near, rate = label.expected, "-", "-"
    if point is not None:
        near = "-" if point.detected_near is None else f"{point.detected_near:.0%}"
        rate = f"{point.false_alarms_per_hour:.1f}"
    figures = None if label.entry is None else label.entry.figures
    return (
        f"{'  ' if label.group else ''}{label.name}",
        label.model,
        near if label.is_measured else UNMEASURED,
        rate,
        "-" if figures is None else f"{figures.average_precision:.2f}",
        label.text if label.is_listed else _class_text(label),
    )


def _class_text(label: "OfferedLabel") -> str:
    part = f", part of {', '.join(label.inside)}" if label.inside else ""
    return f"A class of the network{part}."


def _explain(label: "OfferedLabel") -> None:
    for title, text in _facts(label):
        print_line(f"{title:<9}{text}")
    _print_curve(label)
    print_line()
    _print_how_to_choose(label)


def _facts(label: "OfferedLabel") -> Iterator[tuple[str, str]]:
    from monitor.detection.rules import IMPULSIVE_LABELS, PRESETS

    yield "label", label.name
    yield "model", label.model
    if label.text or not label.is_listed:
        yield "sound", label.text or _class_text(label)
    if label.group:
        yield "group", f"{label.group}, which reports it together with others"
    if label.members:
        yield "members", f"{', '.join(label.members)}; all of them are {label.name}"
    if label.entry is not None:
        yield "classes", ", ".join(label.classes)
    preset = "impulsive" if label.name in IMPULSIVE_LABELS else "lasting"
    if label.entry is not None:
        preset = label.entry.preset
    rule = PRESETS[preset]
    shortest = rule.min_duration_on_seconds
    yield (
        "preset",
        f"{preset}: an event "
        + (f"lasts {shortest:g} s at least, and " if shortest else "")
        + f"ends after {rule.min_duration_off_seconds:g} s without the sound",
    )
    if (found := label.thresholds) is None:
        yield (
            "onset",
            f"{rule.onset_threshold:g}, offset {rule.offset_threshold:g}: those of the "
            f"preset, {UNMEASURED}",
        )
    else:
        yield "onset", f"{found.onset:.3f}, offset {found.offset:.3f}"
    yield "clips", _clips_text(label)


def _clips_text(label: "OfferedLabel") -> str:
    figures = None if label.entry is None else label.entry.figures
    if figures is None:
        return UNMEASURED if not label.is_measured else "not measured in clips"
    return (
        f"{figures.detected:.0%} of {figures.clips} reach the threshold, average "
        f"precision {figures.average_precision:.2f}"
    )


def _print_curve(label: "OfferedLabel") -> None:
    from monitor.commands.model import EXPECTED_COLUMNS, EXPECTED_NOTES, expected_cells

    if label.thresholds is None or not label.thresholds.curve:
        return
    print_line()
    print_table(
        ("SENSITIVITY", "ONSET", *EXPECTED_COLUMNS),
        [
            (f"{index / 10:.1f}", f"{point.onset:.3f}", *expected_cells(point))
            for index, point in enumerate(label.thresholds.curve)
        ],
    )
    print_lines(EXPECTED_NOTES)


def _print_how_to_choose(label: "OfferedLabel") -> None:
    from monitor.model.card import INCLUDED

    print_line("To report it alone:")
    if label.model != INCLUDED[0]:
        print_line(f"  model: {label.model}")
    print_line(f"  labels: [{label.name}]")
    if label.is_default:
        print_line(f"Without labels, {label.model} reports it by default.")
    elif label.group:
        print_line(f"Without labels, {label.model} reports it as {label.group}.")
