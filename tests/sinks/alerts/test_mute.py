"""A muted rule reports nothing that begins, counts it, and ends its mute by itself."""

import json
import logging
from datetime import timedelta
from typing import Any

import pytest

from monitor.sinks.alerts.rules import Rules
from tests.support.alerts import rule
from tests.support.rule_driver import RuleDriver, rules

HOUR = 3600.0


def muted(seconds: float = HOUR, **settings: Any) -> RuleDriver:
    driver = RuleDriver(rules(rule(**{"on": ["onset", "end"], **settings})))
    driver.rules.mute("siren", seconds, driver.now)
    return driver


def withheld(tested: Rules) -> int:
    return tested.mutes()["siren"].withheld


def test_what_begins_while_a_rule_is_muted_is_counted_and_not_reported() -> None:
    driver = muted()
    driver.sound()
    driver.sound()
    assert driver.kinds == []
    assert withheld(driver.rules) == 2


@pytest.mark.parametrize("on", [["onset"], ["end"], ["onset", "end"]])
def test_an_occurrence_counts_once_whatever_is_reported_of_it(on: list[str]) -> None:
    driver = muted(on=on)
    driver.sound(30)
    assert driver.kinds == []
    assert withheld(driver.rules) == 1


def test_what_would_not_have_been_reported_is_not_counted() -> None:
    driver = muted(min_score=0.99)
    driver.sound()
    assert withheld(driver.rules) == 0


def test_the_end_of_what_was_reported_before_is_reported() -> None:
    driver = RuleDriver(rules(rule(on=["onset", "end"])))
    driver.begin()
    driver.rules.mute("siren", HOUR, driver.now)
    driver.end()
    assert driver.kinds == ["onset", "end"]
    assert withheld(driver.rules) == 0


def test_a_mute_ends_by_itself_and_what_still_goes_on_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    driver = muted(60)
    driver.begin()
    driver.listen(59)
    assert driver.kinds == []
    driver.listen(2)
    assert driver.kinds == ["onset"]
    driver.rules.tick(driver.now)
    assert driver.rules.mutes() == {}
    assert caplog.messages == ["rule siren is not muted any more; 1 withheld"]


def test_no_seconds_end_a_mute() -> None:
    driver = muted()
    driver.rules.mute("siren", 0, driver.now)
    driver.sound()
    assert driver.kinds == ["onset", "end"]


def test_other_rules_are_not_muted() -> None:
    driver = RuleDriver(rules(rule(), rule(name="other")))
    driver.rules.mute("siren", HOUR, driver.now)
    driver.sound()
    assert [alert.rule for alert in driver.alerts] == ["other"]


def restarted(driver: RuleDriver, later: timedelta) -> RuleDriver:
    after = RuleDriver(rules(rule()), driver.now + later)
    after.rules.restore(json.loads(json.dumps(driver.rules.state())))
    return after


@pytest.mark.parametrize(
    ("later", "kinds"),
    [
        (timedelta(minutes=5), []),
        (timedelta(hours=2), ["onset"]),
        (timedelta(minutes=-30), []),  # the clock is not set yet
    ],
)
def test_a_mute_survives_a_restart(later: timedelta, kinds: list[str]) -> None:
    after = restarted(muted(), later)
    after.sound()
    assert after.kinds == kinds


def test_a_clock_that_had_been_ahead_does_not_prolong_a_mute() -> None:
    after = restarted(muted(), timedelta(days=-1))
    after.sound(HOUR - 1)
    assert after.kinds == []
    after.listen(HOUR)
    after.sound()
    assert after.kinds == ["onset"]


@pytest.mark.parametrize("step", [timedelta(days=30), timedelta(days=-30)])
def test_a_clock_that_is_set_neither_ends_nor_prolongs_a_mute(step: timedelta) -> None:
    driver = muted(60)
    driver.began += step
    driver.rules.shift(step)
    driver.sound(50)
    assert driver.kinds == []
    driver.listen(10)
    driver.sound()
    assert driver.kinds == ["onset", "end"]


def test_deleting_the_past_keeps_a_mute() -> None:
    driver = muted()
    driver.rules.forget()
    driver.sound()
    assert driver.kinds == []


@pytest.mark.parametrize(
    "mute", [5, {}, {"since_ms": -1, "seconds": 5}, {"since_ms": 1, "seconds": "x"}]
)
def test_a_damaged_mute_is_none(mute: object, caplog: pytest.LogCaptureFixture) -> None:
    driver = RuleDriver(rules(rule()))
    state = driver.rules.state()
    state["rules"]["siren"]["mute"] = mute
    driver.rules.restore(state)
    assert driver.rules.mutes() == {}
    assert "siren is damaged" in caplog.text
