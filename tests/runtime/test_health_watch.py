"""Deaf sources, trouble of the monitor, and reports of other threads."""

import math
from dataclasses import replace
from typing import Any

import pytest

from monitor.audio.signal_health import CellStatistics, ChannelStatistics
from monitor.config.audio import HealthSettings
from monitor.records import EVERY_SOURCE, Health, SourceStateName
from monitor.runtime.health import (
    HealthReport,
    HealthReports,
    HealthWatch,
    SourceHealth,
)
from monitor.statistics import ModelStatistics, Statistics, Trouble
from tests.support.timed import samples, statistics

LOOK = 0.25
SETTINGS = HealthSettings(deaf_seconds=60, clear_seconds=20)
RATE = 44_100


def source_health(settings: HealthSettings = SETTINGS, **facts: Any) -> SourceHealth:
    facts = {"session": "session", "live": True, **facts}
    return SourceHealth("street", RATE, settings, **facts)


class Night:
    """A source whose worker reports four times a second."""

    def __init__(
        self, settings: HealthSettings = SETTINGS, *, live: bool = True
    ) -> None:
        self.settings = settings
        self.reports = HealthReports()
        self.watch = HealthWatch(self.reports)
        self.sources = {"street": source_health(settings, live=live)}
        self.now = 1000.0
        self.captured = 0.0
        self.idle = math.inf
        self.told: list[Health] = []

    def passes(
        self, seconds: float, state: SourceStateName = "listening", **facts: object
    ) -> "Night":
        moves = facts.pop("moves", state == "listening")
        for _ in range(round(seconds / LOOK)):
            self.now += LOOK
            self.captured += LOOK if moves else 0
            self.idle = 0.0 if moves else self.idle + LOOK
            self._look(statistics("street", state=state, idle_seconds=self.idle))
        return self

    def sleeps(self, seconds: float) -> "Night":
        self.now += seconds
        return self

    def _look(self, found: Statistics) -> None:
        self.told += self.watch.look(
            self.settings,
            self.sources,
            found,
            self.now,
            lambda _: samples(self.captured),
        )

    @property
    def states(self) -> list[str]:
        assert {it.kind for it in self.told} <= {"deaf"}
        return [it.state for it in self.told]


def test_a_source_that_is_waited_for_is_deaf_and_then_back() -> None:
    night = Night().passes(10).passes(59, "waiting")
    assert night.told == []
    night.passes(2, "waiting")
    assert night.states == ["raised"]
    night.passes(19)
    assert night.states == ["raised"]
    night.passes(2)
    assert night.states == ["raised", "cleared"]
    assert night.told[0].id == night.told[1].id


def test_a_source_that_was_never_there_is_deaf_too() -> None:
    assert Night().passes(61, "opening").states == ["raised"]


def test_a_source_that_says_it_listens_and_does_not_move_is_deaf() -> None:
    assert Night().passes(10).passes(70, moves=False).states == []
    assert Night().passes(10).passes(80, moves=False).states == ["raised"]


def test_a_source_that_comes_for_moments_only_is_deaf_in_the_end() -> None:
    night = Night().passes(10)
    for _ in range(8):
        night.passes(25, "waiting").passes(5)
    assert night.states == ["raised"]


def test_a_short_outage_is_a_gap_and_no_deafness() -> None:
    night = Night()
    for _ in range(10):
        night.passes(20, "waiting").passes(100)
    assert night.told == []


def test_a_machine_that_slept_was_not_deaf() -> None:
    night = Night().passes(10).sleeps(8 * 3600)
    assert night.passes(5, "waiting").passes(10).told == []


def test_a_recording_that_is_over_is_not_deaf() -> None:
    assert Night(live=False).passes(10).passes(120, "ended").told == []


def test_digital_silence_is_a_trouble_of_its_own() -> None:
    night = Night()
    silent = Trouble("street", "digital-silence", None, "")
    for _ in range(400):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        night._look(replace(found, troubles=(silent,)))
    assert night.told == []


def test_deafness_may_be_ignored() -> None:
    assert Night(HealthSettings(ignore=("deaf",))).passes(200, "waiting").told == []


def test_a_worker_that_stays_behind_is_an_overload() -> None:
    night = Night(HealthSettings(hold_seconds=10, clear_seconds=20))
    for behind in (0, 30, 0):
        for _ in range(200):
            night.now += LOOK
            night.captured += LOOK
            found = statistics("street")
            (street,) = found.sources
            street = replace(street, backlog_samples=samples(behind))
            night._look(replace(found, sources=(street,)))
    told = [(it.source, it.kind, it.state) for it in night.told]
    assert told == [(EVERY_SOURCE, "overload", it) for it in ("raised", "cleared")]


@pytest.mark.parametrize(
    ("queue", "is_ill"),
    [
        (("store-records", 1), True),
        (("store-alerts", 1), True),
        (("store-frames", 150), False),
        (("store-frames", 500), True),
    ],
)
def test_a_store_that_cannot_write_is_told(
    queue: tuple[str, int], is_ill: bool
) -> None:
    night = Night()
    for _ in range(100):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        night._look(replace(found, queues=(queue,)))
    assert [it.kind for it in night.told] == ["disk"] * is_ill


def test_a_compute_device_that_failed_is_told() -> None:
    night = Night().passes(10)
    for _ in range(100):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        model = ModelStatistics("urban", ("siren",), RATE, "cpu", "cuda")
        night._look(replace(found, model=model))
    ((record),) = night.told
    assert (record.source, record.kind) == (EVERY_SOURCE, "compute-device")
    assert record.detail == "cuda failed: now on the CPU"


def test_what_was_raised_before_it_was_ignored_is_cleared_all_the_same() -> None:
    night = Night().passes(10)
    night.reports.post(HealthReport("canary", "raised", "not heard", "street"))
    night.passes(1)
    night.settings = HealthSettings(ignore=("canary",))
    night.reports.post(HealthReport("canary", "cleared", "", "street"))
    night.passes(1)
    night.reports.post(HealthReport("canary", "raised", "not heard", "street"))
    night.passes(1)
    assert [it.state for it in night.told] == ["raised", "cleared"]


def test_what_other_threads_post_is_told() -> None:
    night = Night().passes(10)
    night.reports.post(HealthReport("canary", "raised", "not heard", "street"))
    night.passes(1)
    ((record),) = night.told
    assert (record.kind, record.source) == ("canary", "street")


def test_a_trouble_that_is_raised_ends_with_its_source() -> None:
    watch, clipped = HealthWatch(HealthReports()), source_health()
    channel = ChannelStatistics(-1.0, 1.0, 0.0, 0.5, 1000)
    half = RATE // 2
    cells = [CellStatistics(n * half, (n + 1) * half, (channel,)) for n in range(24)]
    (raised,) = watch.judge(clipped, cells, [])
    assert (raised.kind, raised.start) == ("clipping", 0)
    detail = "the monitor was stopped"
    (cleared,) = watch.finish("street", clipped, detail, lambda _: 0)
    assert (cleared.id, cleared.detail) == (raised.id, detail)


@pytest.mark.parametrize(("live", "kinds"), [(True, ["digital-silence"]), (False, [])])
def test_silence_in_a_recording_is_no_trouble(live: bool, kinds: list[str]) -> None:
    silent = ChannelStatistics(0.0, 0.0, 0.0, 0.0, 0)
    half = RATE // 2
    cells = [CellStatistics(n * half, (n + 1) * half, (silent,)) for n in range(120)]
    watch = HealthWatch(HealthReports())
    found = watch.judge(source_health(live=live), cells, [])
    assert [it.kind for it in found] == kinds
