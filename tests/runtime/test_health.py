"""Health records of deaf sources, of the monitor, and from other threads' reports."""

import math
import threading
from dataclasses import replace
from typing import Any

import pytest

from monitor.audio.signal_statistics import ChannelStatistics, SignalStatistics
from monitor.config.audio import HealthSettings
from monitor.records import EVERY_SOURCE, GapReason, Health, SourceStateName
from monitor.runtime.health import (
    HealthReport,
    HealthReports,
    HealthWatch,
    SourceHealth,
)
from monitor.statistics import Loss, ModelStatistics, Statistics, Trouble
from tests.support.timed import samples, statistics

RAISED = HealthReport("canary", "raised", "it did not come out", "street")
CLEARED = HealthReport("canary", "cleared", "", "street")


def at(sample: int | None) -> "dict[str, int | None]":
    return {"street": sample, EVERY_SOURCE: 7}


def test_a_notice_becomes_a_record_at_the_newest_sample() -> None:
    reports = HealthReports()
    reports.post(RAISED)
    (raised,) = reports.drain(at(100).get)
    assert (raised.source, raised.start, raised.stop) == ("street", 100, 100)
    assert (raised.kind, raised.state) == ("canary", "raised")
    reports.post(CLEARED)
    (cleared,) = reports.drain(at(900).get)
    assert (cleared.start, cleared.stop, cleared.state) == (100, 900, "cleared")
    assert cleared.id == raised.id
    assert reports.drain(at(999).get) == []


def test_saying_it_again_changes_nothing() -> None:
    reports = HealthReports()
    reports.post(CLEARED)
    assert reports.drain(at(1).get) == []
    reported = []
    for sample in range(5):
        reports.post(RAISED)
        reported += reports.drain(at(sample).get)
    assert len(reported) == 1


def test_another_reason_is_raised_anew_where_it_counts() -> None:
    reports = HealthReports()
    details: list[tuple[str, str]] = []
    for detail in ("it is old", "it is old", "it is damaged"):
        reports.post(HealthReport("rollout", "raised", detail, renews=True))
        details += [(it.state, it.detail) for it in reports.drain(at(1).get)]
    assert details == [
        ("raised", "it is old"),
        ("cleared", ""),
        ("raised", "it is damaged"),
    ]


def test_of_what_is_said_before_the_worker_comes_the_newest_counts() -> None:
    reports = HealthReports()
    for notice in (RAISED, CLEARED, RAISED):
        reports.post(notice)
    assert [it.state for it in reports.drain(at(1).get)] == ["raised"]
    for notice in (CLEARED, RAISED):
        reports.post(notice)
    assert reports.drain(at(2).get) == []


def test_a_source_that_is_gone_is_not_told() -> None:
    reports = HealthReports()
    reports.post(RAISED)
    assert reports.drain(at(None).get) == []


def test_the_end_clears_what_is_raised_of_one_source() -> None:
    reports = HealthReports()
    reports.post(RAISED)
    reports.post(HealthReport("disk", "raised", "it is full"))
    reports.drain(at(1).get)
    (cleared,) = reports.finish("street", at(5).get, "the monitor was stopped")
    assert (cleared.kind, cleared.detail) == ("canary", "the monitor was stopped")
    (other,) = reports.finish(EVERY_SOURCE, at(5).get, "the monitor was stopped")
    assert other.kind == "disk"


def test_many_threads_may_post_at_once() -> None:
    reports = HealthReports()

    def post(number: int) -> None:
        for _ in range(200):
            for state in ("raised", "cleared"):
                reports.post(HealthReport("canary", state, "", f"source-{number}"))
        reports.post(HealthReport("canary", "raised", "", f"source-{number}"))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    reported = []
    while any(thread.is_alive() for thread in threads):
        reported += reports.drain(lambda _: 1)
    for thread in threads:
        thread.join()
    reported += reports.drain(lambda _: 1)
    for number in range(8):
        states = [it.state for it in reported if it.source == f"source-{number}"]
        assert states == ["raised", "cleared"] * (len(states) // 2) + ["raised"]


LOOK = 0.25
SETTINGS = HealthSettings(deaf_seconds=60, clear_seconds=20)
RATE = 44_100


def source_health(settings: HealthSettings = SETTINGS, **facts: Any) -> SourceHealth:
    facts = {"level_gate_dbfs": -70.0, "session": "session", "live": True, **facts}
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
        self.reported: list[Health] = []

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
        self.reported += self.watch.look(
            self.settings,
            self.sources,
            found,
            self.now,
            lambda _: samples(self.captured),
        )

    @property
    def states(self) -> list[str]:
        assert {it.kind for it in self.reported} <= {"deaf"}
        return [it.state for it in self.reported]


def test_a_source_that_is_waited_for_is_deaf_and_then_back() -> None:
    night = Night().passes(10).passes(59, "waiting")
    assert night.reported == []
    night.passes(2, "waiting")
    assert night.states == ["raised"]
    night.passes(19)
    assert night.states == ["raised"]
    night.passes(2)
    assert night.states == ["raised", "cleared"]
    assert night.reported[0].id == night.reported[1].id


def test_a_source_that_was_never_there_is_deaf_too() -> None:
    assert Night().passes(61, "opening").states == ["raised"]


def test_deafness_began_before_it_was_reported() -> None:
    night = Night().passes(100).passes(61, "waiting", moves=True)
    (raised,) = night.reported
    assert raised.stop - raised.start == samples(60)
    assert samples(99) <= raised.start <= samples(101)


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
    assert night.reported == []


def test_a_machine_that_slept_was_not_deaf() -> None:
    night = Night().passes(10).sleeps(8 * 3600)
    assert night.passes(5, "waiting").passes(10).reported == []


def test_a_recording_that_is_over_is_not_deaf() -> None:
    assert Night(live=False).passes(10).passes(120, "ended").reported == []


def test_digital_silence_is_a_trouble_of_its_own() -> None:
    night = Night()
    silent = Trouble("street", "digital-silence", None, "")
    for _ in range(400):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        night._look(replace(found, troubles=(silent,)))
    assert night.reported == []


def test_deafness_may_be_ignored() -> None:
    assert Night(HealthSettings(ignore=("deaf",))).passes(200, "waiting").reported == []


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
    reported = [(it.source, it.kind, it.state) for it in night.reported]
    assert reported == [(EVERY_SOURCE, "overload", it) for it in ("raised", "cleared")]


@pytest.mark.parametrize("reason", ["overload", "overrun"])
@pytest.mark.parametrize(("every_seconds", "raised"), [(3, True), (20, False)])
def test_a_worker_that_leaves_out_again_and_again_is_an_overload(
    reason: GapReason, every_seconds: int, raised: bool
) -> None:
    night = Night(HealthSettings(hold_seconds=10, clear_seconds=20))
    for look in range(400):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        lost = Loss(reason, 1, samples(0.5) * int(look * LOOK / every_seconds))
        (street,) = found.sources
        night._look(replace(found, sources=(replace(street, losses=(lost,)),)))
    assert [it.state for it in night.reported] == ["raised"] * raised


@pytest.mark.parametrize(
    ("queue", "is_ill"),
    [
        (("store-records", 1), True),
        (("store-alerts", 1), True),
        (("store-frames", 150), False),
        (("store-frames", 500), True),
    ],
)
def test_a_store_that_cannot_write_is_reported(
    queue: tuple[str, int], is_ill: bool
) -> None:
    night = Night()
    for _ in range(100):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        night._look(replace(found, queues=(queue,)))
    assert [it.kind for it in night.reported] == ["disk"] * is_ill


def test_a_compute_device_that_failed_is_reported() -> None:
    night = Night().passes(10)
    for _ in range(100):
        night.now += LOOK
        night.captured += LOOK
        found = statistics("street")
        model = ModelStatistics("urban", ("siren",), RATE, "cpu", "cuda")
        night._look(replace(found, model=model))
    ((record),) = night.reported
    assert (record.source, record.kind) == (EVERY_SOURCE, "compute-device")
    assert record.detail == "cuda failed: now on the CPU"


def test_what_was_raised_before_it_was_ignored_is_cleared_all_the_same() -> None:
    night = Night().passes(10)
    night.reports.post(HealthReport("canary", "raised", "not detected", "street"))
    night.passes(1)
    night.settings = HealthSettings(ignore=("canary",))
    night.reports.post(HealthReport("canary", "cleared", "", "street"))
    night.passes(1)
    night.reports.post(HealthReport("canary", "raised", "not detected", "street"))
    night.passes(1)
    assert [it.state for it in night.reported] == ["raised", "cleared"]


def test_what_other_threads_post_is_reported() -> None:
    night = Night().passes(10)
    night.reports.post(HealthReport("canary", "raised", "not detected", "street"))
    night.passes(1)
    ((record),) = night.reported
    assert (record.kind, record.source) == ("canary", "street")


def test_a_trouble_that_is_raised_ends_with_its_source() -> None:
    watch, clipped = HealthWatch(HealthReports()), source_health()
    channel = ChannelStatistics(-1.0, 1.0, 0.0, 0.5, 1000)
    half = RATE // 2
    intervals = [
        SignalStatistics(n * half, (n + 1) * half, (channel,)) for n in range(24)
    ]
    (raised,) = watch.judge(clipped, intervals, [])
    assert (raised.kind, raised.start) == ("clipping", 0)
    detail = "the monitor was stopped"
    (cleared,) = watch.finish("street", clipped, detail, lambda _: 0)
    assert (cleared.id, cleared.detail) == (raised.id, detail)


@pytest.mark.parametrize(("live", "kinds"), [(True, ["digital-silence"]), (False, [])])
def test_silence_in_a_recording_is_no_trouble(live: bool, kinds: list[str]) -> None:
    silent = ChannelStatistics(0.0, 0.0, 0.0, 0.0, 0)
    half = RATE // 2
    intervals = [
        SignalStatistics(n * half, (n + 1) * half, (silent,)) for n in range(120)
    ]
    watch = HealthWatch(HealthReports())
    found = watch.judge(source_health(live=live), intervals, [])
    assert [it.kind for it in found] == kinds
