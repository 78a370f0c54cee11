"""What other threads tell of health becomes records, once each."""

import threading

from monitor.records import EVERY_SOURCE
from monitor.runtime.health import HealthReport, HealthReports

RAISED = HealthReport("canary", "raised", "it did not come out", "street")
CLEARED = HealthReport("canary", "cleared", "", "street")


def at(sample: int | None) -> "dict[str, int | None]":
    return {"street": sample, EVERY_SOURCE: 7}


def test_a_notice_becomes_a_record_at_the_newest_sample() -> None:
    desk = HealthReports()
    desk.post(RAISED)
    (raised,) = desk.drain(at(100).get)
    assert (raised.source, raised.start, raised.stop) == ("street", 100, 100)
    assert (raised.kind, raised.state) == ("canary", "raised")
    desk.post(CLEARED)
    (cleared,) = desk.drain(at(900).get)
    assert (cleared.start, cleared.stop, cleared.state) == (100, 900, "cleared")
    assert cleared.id == raised.id
    assert desk.drain(at(999).get) == []


def test_saying_it_again_changes_nothing() -> None:
    desk = HealthReports()
    desk.post(CLEARED)
    assert desk.drain(at(1).get) == []
    told = []
    for sample in range(5):
        desk.post(RAISED)
        told += desk.drain(at(sample).get)
    assert len(told) == 1


def test_of_what_is_said_before_the_worker_comes_the_newest_counts() -> None:
    desk = HealthReports()
    for notice in (RAISED, CLEARED, RAISED):
        desk.post(notice)
    assert [it.state for it in desk.drain(at(1).get)] == ["raised"]
    for notice in (CLEARED, RAISED):
        desk.post(notice)
    assert desk.drain(at(2).get) == []


def test_a_source_that_is_gone_is_not_told() -> None:
    desk = HealthReports()
    desk.post(RAISED)
    assert desk.drain(at(None).get) == []


def test_the_end_clears_what_is_raised_of_one_source() -> None:
    desk = HealthReports()
    desk.post(RAISED)
    desk.post(HealthReport("disk", "raised", "it is full"))
    desk.drain(at(1).get)
    (cleared,) = desk.finish("street", at(5).get, "the monitor was stopped")
    assert (cleared.kind, cleared.detail) == ("canary", "the monitor was stopped")
    (other,) = desk.finish(EVERY_SOURCE, at(5).get, "the monitor was stopped")
    assert other.kind == "disk"


def test_many_threads_may_post_at_once() -> None:
    desk = HealthReports()

    def post(number: int) -> None:
        for _ in range(200):
            for state in ("raised", "cleared"):
                desk.post(HealthReport("canary", state, "", f"source-{number}"))
        desk.post(HealthReport("canary", "raised", "", f"source-{number}"))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    told = []
    while any(thread.is_alive() for thread in threads):
        told += desk.drain(lambda _: 1)
    for thread in threads:
        thread.join()
    told += desk.drain(lambda _: 1)
    for number in range(8):
        states = [it.state for it in told if it.source == f"source-{number}"]
        assert states == ["raised", "cleared"] * (len(states) // 2) + ["raised"]
