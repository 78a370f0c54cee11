"""Short losses: they are reported, and the windows and events around them go on."""

from collections.abc import Iterator

import numpy as np
import pytest

from monitor.audio.ring import Samples
from monitor.audio.sources.demo import render_sound
from monitor.audio.timeline import Block
from monitor.config.config import Config
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.model.models import as_models
from monitor.records import Event, Gap, GapReason, PlacedRecord, ScoreFrame
from monitor.runtime.pipeline import Arrival, build_pipeline
from monitor.runtime.windowing import BRIDGED_SECONDS

RATE = 44_100
PACKET = RATE // 100


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_model(None), "cpu")


@pytest.fixture(scope="module")
def street() -> Samples:
    """Half a minute with a siren from the eighth second on."""
    rng = np.random.default_rng(1)
    heard = 0.002 * rng.standard_normal(30 * RATE)
    siren = 0.3 * render_sound("siren", 12.0, RATE)
    heard[8 * RATE : 8 * RATE + len(siren)] += siren
    return heard[None].astype(np.float32)


def analysed(
    classifier: Classifier,
    heard: Samples,
    lost: int = 0,
    every: int = RATE,
    reason: GapReason = "stalled",
) -> list[PlacedRecord]:
    """The records of a source that loses `lost` samples in `every`."""
    config = Config()
    (source,) = config.sources
    pipeline = build_pipeline(config, as_models(classifier), "test")

    def arrivals() -> Iterator[Arrival]:
        for start in range(0, heard.shape[1], every):
            stop = min(start + every, heard.shape[1]) - lost
            yield source.name, Block(start, heard[:, start:stop])
            if lost:
                yield source.name, Gap(source.name, stop, stop + lost, reason)

    records = [record for each in arrivals() for record in pipeline.process([each])]
    return records + pipeline.finish(source.name, "stopped")


def sirens(records: list[PlacedRecord]) -> list[Event]:
    return [it for it in records if isinstance(it, Event) and it.label == "siren"]


def windows(records: list[PlacedRecord]) -> int:
    return sum(isinstance(record, ScoreFrame) for record in records)


def test_a_lost_packet_a_second_changes_no_event_and_each_is_a_gap(
    classifier: Classifier, street: Samples
) -> None:
    whole, holey = (analysed(classifier, street, lost) for lost in (0, PACKET))
    ((event,), (same,)) = map(sirens, (whole, holey))
    assert abs(same.start - event.start) < RATE / 5
    assert abs(same.stop - event.stop) < RATE / 5
    assert same.end_reason == event.end_reason == "offset"
    assert same.mean_score == pytest.approx(event.mean_score, abs=0.05)
    assert windows(holey) == windows(whole)
    gaps = [record for record in holey if isinstance(record, Gap)]
    assert [gap.stop - gap.start for gap in gaps] == [PACKET] * 30


@pytest.mark.parametrize(
    ("lost", "every", "reason"),
    [
        (round(BRIDGED_SECONDS * RATE) + 1, 10 * RATE, "stalled"),  # one is too long
        (3 * PACKET, RATE // 2, "overrun"),  # too many of them are in a window
        (PACKET, 10 * RATE, "unplugged"),  # it is not the same source behind it
    ],
)
def test_longer_losses_and_others_end_the_windows_before_them(
    classifier: Classifier, street: Samples, lost: int, every: int, reason: GapReason
) -> None:
    holey = analysed(classifier, street, lost, every, reason)
    assert windows(holey) < windows(analysed(classifier, street)) - 5
    assert "offset" not in {event.end_reason for event in sirens(holey)[:1]}


def test_what_is_in_the_place_of_the_loss_is_as_loud_as_the_sound(
    classifier: Classifier, street: Samples
) -> None:
    loud = 50 * street[:, : 8 * RATE]
    levels = [
        {
            round(it.laeq_db)
            for it in analysed(classifier, loud, lost)
            if isinstance(it, ScoreFrame)
        }
        for lost in (0, 2 * PACKET)
    ]
    assert levels[0] == levels[1]
