"""Columns of a timeline are those of its samples, whatever is lost or overwritten."""

import numpy as np
import pytest

from monitor.audio.columns import MelColumns
from monitor.audio.timeline import Timeline
from monitor.audio.timeline_columns import BACK_SECONDS, TimelineColumns
from tests.support.signals import Samples, sine

RATE = 16_000
EVERYTHING = 1000 * RATE


def played(timeline: Timeline, samples: Samples) -> None:
    for first in range(0, samples.shape[1], RATE):
        timeline.write(samples[:, first : first + RATE], 0.0)


@pytest.fixture
def timeline() -> Timeline:
    made = Timeline("street", RATE, 60.0)
    made.open(1)
    return made


def noise(seconds: float, channels: int = 1) -> Samples:
    shape = channels, int(seconds * RATE)
    return np.random.default_rng(4).normal(0, 0.1, shape).astype(np.float32)


def test_in_steps_they_are_those_of_the_whole(timeline: Timeline) -> None:
    sound, found = noise(12), []
    reader = TimelineColumns(timeline)
    for first in range(0, sound.shape[1], 7001):
        played(timeline, sound[:, first : first + 7001])
        while (step := reader.read(5000))[0]:
            found.append(step[1])
    whole = MelColumns(RATE)
    assert np.array_equal(np.concatenate(found), whole.push(sound))
    assert reader.stop == whole.stop


def test_it_begins_a_little_before_now(timeline: Timeline) -> None:
    played(timeline, noise(50))
    count, columns = TimelineColumns(timeline).read(EVERYTHING)
    assert count == BACK_SECONDS * RATE
    assert len(columns) == pytest.approx(10 * BACK_SECONDS, abs=1)


def test_sound_that_was_left_out_does_not_join_what_is_around_it(
    timeline: Timeline,
) -> None:
    reader = TimelineColumns(timeline)
    played(timeline, noise(1.05))
    reader.read(EVERYTHING)
    played(timeline, later := sine(440, 50.0, 0.5, RATE))
    count, columns = reader.read(EVERYTHING)
    assert count == 30 * RATE  # half of the ring
    assert np.array_equal(columns, MelColumns(RATE).push(later[:, -count:]))
    assert timeline.stop - RATE / 5 < reader.stop <= timeline.stop


def test_other_channels_begin_anew(timeline: Timeline) -> None:
    reader = TimelineColumns(timeline)
    played(timeline, noise(1.05))
    reader.read(EVERYTHING)
    timeline.open(2)
    played(timeline, stereo := noise(2, channels=2))
    _, columns = reader.read(EVERYTHING)
    assert np.array_equal(columns, MelColumns(RATE).push(stereo))
