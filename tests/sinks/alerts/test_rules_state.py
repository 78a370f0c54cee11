"""The state of the rules that is stored: of older versions, and damaged."""

from typing import Any

import pytest

from tests.support.alerts import rule
from tests.support.rule_driver import RuleDriver, rules

SOUND: dict[str, Any] = {"cases": {}, "last_ms": [], "told_ms": [], "held": None}


def test_the_state_of_an_older_version_is_restored() -> None:
    before = RuleDriver(rules())
    before.begin()
    case = {
        "source": "street",
        "label": "siren",
        "told": True,
        "settled": True,
        "escalated": False,
        "repeats": 0,
    }
    remembered = {
        "cases": {"session-street-1": case},
        "last_ms": [["street", "siren", round(before.now.timestamp() * 1000)]],
        "health": {"cases": {}, "last_ms": []},
        "told_ms": [],
        "held": None,
    }
    after = RuleDriver(
        rules(rule(on=["onset", "end"], cooldown_seconds=60)), before.now
    )
    after.rules.restore({"version": 1, "rules": {"siren": remembered}})
    after.going_on, after.seconds = before.going_on, before.seconds
    after.end(end_reason="interrupted")
    after.sound()
    assert after.kinds == ["end"]


def test_the_state_of_an_unknown_version_is_ignored_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = RuleDriver(rules(rule()))
    driver.rules.restore({"version": 99, "what": "ever"})
    assert caplog.messages == ["the alert rules' state is of another version: ignored"]
    driver.sound()
    assert driver.kinds == ["onset"]


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        5,
        [],
        {},
        {**SOUND, "cases": []},
        {**SOUND, "cases": {"id": 5}},
        {**SOUND, "cases": {"id": {"bogus": 1}}},
        {**SOUND, "cases": {"id": {"source": "street", "label": "a", "repeats": "x"}}},
        {**SOUND, "last_ms": [["street"]]},
        {**SOUND, "last_ms": [["street", "siren", "yesterday"]]},
        {**SOUND, "last_ms": [["street", "siren", 10**300]]},
        {**SOUND, "told_ms": ["x"]},
        {**SOUND, "held": {"since_ms": "x"}},
        {**SOUND, "held": {"since_ms": 5, "sounds": [{"source": "street"}]}},
        {**SOUND, "health": 5},
    ],
)
def test_a_rule_whose_state_is_damaged_begins_anew_and_the_others_go_on(
    damaged: object, caplog: pytest.LogCaptureFixture
) -> None:
    before = RuleDriver(rules(rule(cooldown_seconds=60), rule("other")))
    before.begin()
    state = before.rules.state()
    both = rules(rule(cooldown_seconds=60), rule("other"))
    after = RuleDriver(both, before.now)
    after.rules.restore({**state, "rules": {**state["rules"], "siren": damaged}})
    assert caplog.messages == [
        "the stored state of the alert rule siren is damaged: it begins anew"
    ]
    restored = after.rules.state()["rules"]
    assert restored["siren"]["cases"] == {}
    assert restored["other"] == state["rules"]["other"]
    after.sound()
    assert after.kinds == ["onset", "onset"]


def test_rules_that_forget_begin_anew() -> None:
    driver = RuleDriver(rules(rule(on=["onset", "end"], max_per_hour=1)))
    fresh = driver.rules.state()
    driver.begin()
    driver.rules.forget()
    assert driver.rules.state() == fresh
    driver.end()
    assert driver.kinds == ["onset"]


@pytest.mark.parametrize("damaged", [None, 5, [], "text"])
def test_a_state_without_rules_is_damaged(
    damaged: object, caplog: pytest.LogCaptureFixture
) -> None:
    driver = RuleDriver(rules(rule()))
    driver.rules.restore({"version": 2, "rules": damaged})
    assert "damaged" in caplog.text
    driver.sound()
    assert driver.kinds == ["onset"]
