"""Events are paired and counted as the published tool sed_eval does it."""

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.streams.metrics import (
    COLLAR_SECONDS,
    OFFSET_SHARE,
    Detected,
    Interval,
    Reference,
    StreamResult,
    match,
    stream_figures,
)

LABELS = ("bark", "horn", "siren")

STRETCHES = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0, 6)).map(
        lambda pair: Interval(pair[0], pair[0] + pair[1])
    ),
    max_size=6,
)


def fits(one: Interval, other: Interval, offsets: bool) -> bool:
    allowed = max(COLLAR_SECONDS, OFFSET_SHARE * (one.offset - one.onset))
    return abs(one.onset - other.onset) <= COLLAR_SECONDS and (
        not offsets or abs(one.offset - other.offset) <= allowed
    )


def most_pairs(references: list[Interval], found: list[Interval], offsets: bool) -> int:
    """By trying everything."""
    if not references:
        return 0
    first, *rest = references
    best = most_pairs(rest, found, offsets)
    for index, event in enumerate(found):
        if fits(first, event, offsets):
            others = found[:index] + found[index + 1 :]
            best = max(best, 1 + most_pairs(rest, others, offsets))
    return best


@given(STRETCHES, STRETCHES, st.booleans())
def test_as_many_events_are_paired_as_can_be(
    references: list[Interval], found: list[Interval], offsets: bool
) -> None:
    pairs = match(references, found, offsets=offsets)
    assert len({reference for reference, _ in pairs}) == len(pairs)
    assert len({event for _, event in pairs}) == len(pairs)
    assert all(fits(references[a], found[b], offsets) for a, b in pairs)
    assert len(pairs) == most_pairs(references, found, offsets)


def test_of_equally_many_pairs_the_closest_are_taken() -> None:
    found = [Interval(9.2, 11), Interval(10.1, 11), Interval(10.8, 11)]
    assert match([Interval(10, 11)], found) == [(0, 1)]


def random_streams(count: int = 12, seed: int = 3) -> list[StreamResult]:
    """Streams in which events are found, moved, split, missed and made up."""
    r = np.random.default_rng(seed)
    streams = []
    for _ in range(count):
        references: list[Reference] = []
        found: list[Detected] = []
        for label in LABELS:
            for onset in r.uniform(0, 100, r.integers(0, 12)):
                stop = onset + r.uniform(0.2, 8)
                references.append(Reference(float(onset), float(stop), label))
                for _ in range(r.integers(0, 3)):
                    start = max(0.0, onset + r.normal(0, 0.7))
                    end = max(start + 0.1, stop + r.normal(0, 1.5))
                    found.append(Detected(float(start), float(end), label, end))
            made_up = r.uniform(0, 100, r.integers(0, 4)).tolist()
            found += [Detected(at, at + 1, label, at + 1) for at in made_up]
        streams.append(StreamResult(110, tuple(references), tuple(found)))
    return streams


def by_sed_eval(streams: list[StreamResult], offsets: bool) -> dict[str, Any]:
    """The same figures by sed_eval, without its rounding or its files."""
    sed_eval, dcase_util = map(import_module, ("sed_eval", "dcase_util"))

    def events(of: tuple[Any, ...], name: str) -> Any:
        return dcase_util.containers.MetaDataContainer(
            [
                {
                    "filename": name,
                    "onset": event.onset,
                    "offset": event.offset,
                    "event_label": event.label,
                }
                for event in of
            ]
        )

    metrics = sed_eval.sound_event.EventBasedMetrics(
        list(LABELS),
        evaluate_offset=offsets,
        t_collar=COLLAR_SECONDS,
        percentage_of_length=OFFSET_SHARE,
    )
    for number, stream in enumerate(streams):
        name = f"{number}.wav"
        metrics.evaluate(events(stream.references, name), events(stream.found, name))
    figures = metrics.results()
    overall, average = figures["overall"], figures["class_wise_average"]
    return {
        **{key: overall["f_measure"][key] for key in ("precision", "recall")},
        "f1": overall["f_measure"]["f_measure"],
        "macro_f1": average["f_measure"]["f_measure"],
        "per_class": {
            label: figures["class_wise"][label]["f_measure"]["f_measure"]
            for label in LABELS
        },
    }


def ours(streams: list[StreamResult]) -> dict[str, Any]:
    figures = stream_figures(streams, LABELS)
    per_class = figures["per_class"]
    onsets = {key: figures[f"event_{key}"] for key in ("precision", "recall", "f1")}
    return {
        "onsets": {
            **onsets,
            "macro_f1": figures["event_macro_f1"],
            "per_class": {label: per_class[label]["f1"] for label in LABELS},
        },
        "offsets": {
            **figures["with_offsets"],
            "per_class": {
                label: per_class[label]["f1_with_offsets"] for label in LABELS
            },
        },
    }


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for condition, figures in theirs.items():
        for key, value in figures.items():
            assert ours[condition][key] == pytest.approx(value), (condition, key)


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_those_of_sed_eval(seed: int) -> None:
    streams = random_streams(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pkg_resources, and of old escapes
        theirs = {
            "onsets": by_sed_eval(streams, offsets=False),
            "offsets": by_sed_eval(streams, offsets=True),
        }
    assert_equal(ours(streams), theirs)
