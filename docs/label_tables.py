"""Write the figures of the included model world into the pages that show them.

    python docs/label_tables.py

Replaces what stands between the marks in docs/labels.md and in the model's own page,
by the figures in the model file, and by what the clips are of, which is in
training/world/catalogue.yaml.  To be run whenever one of them has changed.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from monitor.model.card import ModelCard, read_card
from monitor.model.catalogue import default_labels
from monitor.model.label_search import OfferedLabel, offered_labels
from training.world.catalogue import read_catalogue

MODEL = "world"
ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "docs" / "labels.md",
    ROOT / "monitor" / "model" / "weights" / f"{MODEL}.md",
)
HEADER = (
    *("label", "sound", "near", "far", "reported after", "false alarms/h", "at most"),
    *("clips", "clips of", "clips that reach it", "AP"),
)
GROUP_HEADER = ("group", "its clips are of", "members without clips")


def blocks() -> dict[str, str]:
    """The generated parts of the pages, by the name in their marks."""
    card = read_card(MODEL).card
    labels = [each for each in offered_labels({MODEL: card}) if each.entry]
    clips = {label: entry.clips for label, entry in read_catalogue().items()}
    return {
        "catalogue": _table(HEADER, [_row(each, clips[each.name]) for each in labels]),
        "groups": _table(GROUP_HEADER, _group_rows(labels, clips)),
        "summary": _summary(card, labels),
    }


def with_blocks(text: str, contents: Mapping[str, str]) -> str:
    """Return a page with `contents` between its marks."""
    for name, content in contents.items():
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text = re.sub(pattern, rf"\g<1>{content}\g<2>", text, flags=re.DOTALL)
    return text


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _group_rows(
    labels: list[OfferedLabel], clips: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """The groups with figures: which of their members these are of."""
    return [
        (
            f"`{group.name}`",
            _named(clips[group.name]),
            _named([it for it in group.members if not clips[it]]) or "none",
        )
        for group in labels
        if group.members and clips[group.name]
    ]


def _row(label: OfferedLabel, clips_of: tuple[str, ...]) -> tuple[str, ...]:
    point, figures = label.expected, label.entry and label.entry.figures
    shares = ("-", "-", "-")
    if label.is_measured and point is not None:
        latency = point.latency_seconds
        shares = (
            _share(point.detected_near),
            _share(point.detected_far),
            "-" if latency is None else f"{latency:.1f} s",
        )
    elif not label.is_measured:
        shares = ("unmeasured", "-", "-")
    rates = ("-", "-")
    if point is not None:
        rate, limit = point.false_alarms_per_hour, point.false_alarms_per_hour_at_most
        rates = (f"{rate:.1f}", f"{limit:.1f}")
    clips = ("-", "-", "-", "-")
    if figures:
        share, precision = figures.detected, figures.average_precision
        number = str(figures.clips)
        clips = (number, _named(clips_of), f"{share:.2f}", f"{precision:.2f}")
    name = f"{label.group} / **{label.name}**" if label.group else f"**{label.name}**"
    return (name, label.text, *shares, *rates, *clips)


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"


def _summary(card: ModelCard, labels: list[OfferedLabel]) -> str:
    report, measured = card.report, sum(each.is_measured for each in labels)
    return (
        f"The catalogue has {len(labels)} labels, of which {len(default_labels(card))} "
        "are reported if none is chosen, made of some of the "
        f"{len(card.labels)} classes.\n"
        f"For {measured} of them it was measured how much is detected; the others are "
        "unmeasured.\n"
        f"Means over those with figures: {report['detected_near']:.2f} of the sounds "
        f"near and {report['detected_far']:.2f} of those far are detected in places, "
        f"{report['clips_detected']:.2f} of the clips alone reach the threshold, at an "
        f"average precision of {report['macro_average_precision']:.2f}.\n"
        f"A label raises {report['false_alarms_per_hour']:.2f} false alarms an hour on "
        f"the average, in {report['hours_of_places']:.1f} hours of places.\n"
    )


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(with_blocks(page.read_text(), blocks()))


if __name__ == "__main__":
    main()
