"""Rules with `on: [health]` report problems once, and when they are over."""

import json
from datetime import timedelta
from typing import Any

import pytest

from monitor.config.alerts import AlertSettings
from monitor.config.config import Config
from monitor.records import EVERY_SOURCE, Timed
from monitor.records import Health as HealthRecord
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.rules import Rules
from tests.support.alerts import rule
from tests.support.health import trouble
from tests.support.rule_driver import NOW, RuleDriver, rules


def health(**settings: Any) -> AlertSettings:
    return rule("health", on=["health"], **settings)


class Health:
    """Gives rules health records, and lets time pass."""

    def __init__(self, tested: Rules) -> None:
        self.rules = tested
        self.now = NOW
        self.alerts: list[Alert] = []

    def take(self, *records: Timed) -> "Health":
        self.alerts += self.rules.step(records, self.now)
        return self

    def wait(self, seconds: float) -> "Health":
        self.now += timedelta(seconds=seconds)
        self.alerts += self.rules.tick(self.now)
        return self

    @property
    def reported(self) -> list[tuple[str, str]]:
        return [
            (alert.body["health"], alert.body["state"])
            for alert in self.alerts
            if alert.kind == "health"
        ]


RAISED, CLEARED = trouble(), trouble("cleared", seconds=75, detail="")


def test_a_problem_is_reported_when_it_is_raised_and_when_it_is_cleared() -> None:
    tested = Health(rules(health())).take(RAISED).wait(10).take(CLEARED).wait(10)
    raised, cleared = tested.alerts
    assert {alert.kind for alert in tested.alerts} == {"health"}
    assert raised.id != cleared.id
    assert raised.body == json.loads(json.dumps(raised.body))
    assert raised.body["message"] == "clipping at street: turn the gain down"
    assert raised.body["start"] == "2026-11-23T05:56:20.000Z"
    assert raised.body["end"] is None
    assert cleared.body["message"] == "clipping at street is over after 1m 15s"
    assert cleared.body["end"] == "2026-11-23T05:57:35.000Z"
    assert cleared.body["duration_seconds"] == 75
    assert (raised.event_id, cleared.event_id) == (None, None)


def test_rules_without_health_report_no_problem_and_health_rules_no_sound() -> None:
    assert Health(rules(rule(on=["onset", "end"]))).take(RAISED, CLEARED).reported == []
    driver = RuleDriver(rules(health()))
    driver.sound(10)
    assert driver.alerts == []


def test_a_rule_may_choose_kinds_and_sources() -> None:
    deaf = trouble(kind="deaf", number=2)
    yard = trouble(source="yard", number=3)
    full = trouble(kind="disk", source=EVERY_SOURCE, number=4)
    chosen = Health(rules(health(kinds=["deaf"]))).take(RAISED, deaf, yard, full)
    assert chosen.reported == [("deaf", "raised")]
    of_yard = Health(rules(health(sources=["yard"]))).take(RAISED, yard, full)
    assert of_yard.reported == [("clipping", "raised"), ("disk", "raised")]
    assert of_yard.alerts[1].body["message"] == "disk: turn the gain down"


def test_a_problem_raised_in_a_quiet_time_that_goes_on_is_reported_afterwards() -> None:
    # NOW is noon.
    quiet = health(quiet=[{"begin": "11:00", "end": "13:00"}], time_zone="UTC")
    tested = Health(rules(quiet)).take(RAISED).wait(1800)
    assert tested.reported == []
    tested.wait(1801)
    assert tested.reported == [("clipping", "raised")]


def test_a_problem_that_is_cleared_in_the_quiet_time_is_not_reported() -> None:
    quiet = health(quiet=[{"begin": "11:00", "end": "13:00"}], time_zone="UTC")
    assert Health(rules(quiet)).take(RAISED, CLEARED).wait(7200).reported == []


def test_a_reported_problem_is_cleared_also_in_a_quiet_time() -> None:
    quiet = health(quiet=[{"begin": "12:30", "end": "13:00"}], time_zone="UTC")
    tested = Health(rules(quiet)).take(RAISED).wait(2400).take(CLEARED)
    assert tested.reported == [("clipping", "raised"), ("clipping", "cleared")]


def test_a_problem_that_outlasts_the_cooldown_is_reported_after_it() -> None:
    tested = Health(rules(health(cooldown_seconds=600))).take(RAISED, CLEARED)
    tested.wait(60).take(trouble(number=2), trouble("cleared", number=2))
    tested.wait(60).take(trouble(number=3)).wait(400)
    assert tested.reported == [("clipping", "raised"), ("clipping", "cleared")]
    tested.wait(200)
    assert tested.reported[2:] == [("clipping", "raised")]


def test_the_cooldown_begins_anew_when_a_problem_is_cleared() -> None:
    tested = Health(rules(health(cooldown_seconds=600))).take(RAISED).wait(500)
    tested.take(CLEARED).wait(200).take(trouble(number=2))
    assert tested.reported == [("clipping", "raised"), ("clipping", "cleared")]
    assert tested.wait(401).reported[2:] == [("clipping", "raised")]


def test_another_kind_has_a_cooldown_of_its_own() -> None:
    tested = Health(rules(health(cooldown_seconds=600))).take(RAISED)
    tested.take(trouble(kind="deaf", number=2))
    assert tested.reported == [("clipping", "raised"), ("deaf", "raised")]


def test_problems_beyond_the_hourly_limit_are_reported_in_a_digest() -> None:
    tested = Health(rules(health(max_per_hour=2)))
    for number in range(5):
        tested.take(trouble(number=number), trouble("cleared", number=number))
    assert tested.reported == [("clipping", "raised"), ("clipping", "cleared")] * 2
    tested.wait(3700)
    digest = tested.alerts[-1]
    assert digest.kind == "digest"
    assert digest.body["count"] == 3
    assert digest.body["sounds"] == [
        {"source": "street", "label": "clipping", "count": 3}
    ]


def test_a_restart_forgets_no_problem() -> None:
    """A problem reported before a kill is reported as cleared after it."""
    before = Health(rules(health())).take(RAISED)
    state = json.loads(json.dumps(before.rules.state()))
    after = Health(rules(health()))
    after.rules.restore(state)
    after.take(CLEARED)
    assert after.reported == [("clipping", "cleared")]


def test_a_problem_in_the_state_of_version_1_is_cleared() -> None:
    assert isinstance(RAISED.record, HealthRecord)
    case = {
        "source": "street",
        "kind": "clipping",
        "detail": "turn the gain down",
        "start": None,
        "told": True,
        "settled": True,
    }
    state = rules(health()).state()
    state["version"] = 1
    state["rules"]["health"]["health"]["cases"] = {RAISED.record.id: case}
    after = Health(rules(health()))
    after.rules.restore(state)
    assert after.take(CLEARED).reported == [("clipping", "cleared")]


def test_the_state_of_an_older_version_knows_no_problems() -> None:
    before = rules(health()).state()
    for each in before["rules"].values():
        del each["health"]
    after = Health(rules(health()))
    after.rules.restore(before)
    assert after.take(RAISED).reported == [("clipping", "raised")]


def test_a_template_has_the_facts_of_a_problem() -> None:
    from monitor.sinks.alerts.body import facts, render

    (alert,) = Health(rules(health())).take(RAISED).alerts
    text = render("$source $health $state: $detail", "text/plain", alert.body)
    assert text == "street clipping raised: turn the gain down"
    assert facts(alert.body)["label"] == ""


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"on": ["health"], "kinds": ["thirst"]}, "clipping"),
        ({"on": ["onset"], "kinds": ["deaf"]}, "kinds needs health in on"),
        ({"on": ["health"], "labels": ["siren"]}, "labels needs onset or end"),
    ],
)
def test_a_rule_that_can_never_report_is_rejected(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        rule("health", **settings)


def test_a_rule_for_an_ignored_kind_is_rejected() -> None:
    section = health(kinds=["dead-channel", "deaf"]).model_dump(exclude_none=True)
    ignored = ["dead-channel"]
    known = {"alerts": [section], "health": {"ignore": ignored}}
    assert Config.model_validate(known, strict=False).health.ignore
    ignored.append("deaf")
    with pytest.raises(ValueError, match=r"alerts\[0\].kinds"):
        Config.model_validate(known, strict=False)
