"""Rules report what they must, once, and with the reasons."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.alerts import rule
from tests.support.rule_driver import HOP, NOW, RuleDriver, rules


def test_a_continuous_sound_is_reported_when_it_begins_goes_on_and_ends() -> None:
    """And not once a hop."""
    driver = RuleDriver(
        rules(rule(on=["onset", "end"], escalate_after_seconds=60, still_on_seconds=45))
    )
    driver.sound(200)
    assert driver.kinds == [
        "onset",
        "still_on",
        "escalation",
        "still_on",
        "still_on",
        "still_on",
        "end",
    ]
    seconds = [round(alert.body["duration_seconds"]) for alert in driver.alerts]
    assert seconds[1:-1] == pytest.approx([45, 60, 90, 135, 180], abs=1)
    assert len({alert.id for alert in driver.alerts}) == 7
    assert {alert.event_id for alert in driver.alerts} == {"session-street-1"}


def test_an_alert_holds_the_facts_of_its_sound() -> None:
    settings = rule("sirens", labels=["siren"], min_score=0.5, min_level_dbfs=-60)
    driver = RuleDriver(rules(settings))
    driver.listen(10)
    driver.begin(peak_score=0.9)
    (alert,) = driver.alerts
    assert alert.body == json.loads(json.dumps(alert.body))
    assert {key: alert.body[key] for key in ("kind", "rule", "label", "source")} == {
        "kind": "onset",
        "rule": "sirens",
        "label": "siren",
        "source": "street",
    }
    assert alert.body["id"] == alert.id
    assert alert.body["event_id"] == "session-street-1"
    assert alert.body["start"].startswith("2026-11-23T12:00:1")
    assert alert.body["end"] is None
    assert alert.body["peak_score"] == 0.9
    assert alert.body["threshold"] == 0.6
    assert alert.body["hits"] == 1
    assert alert.body["windows"] >= 1
    assert alert.body["level_dbfs"] == -21.0
    assert alert.body["laeq_db"] == 63.2
    assert alert.body["conditions"]["min_score"] == 0.5
    assert alert.body["message"] == "siren at street (score 0.90, -21.0 dBFS)"
    assert alert.deadline - alert.created == timedelta(days=1)


def test_the_end_reports_the_facts_of_the_whole_sound() -> None:
    driver = RuleDriver(rules(rule(on=["onset", "end"])))
    driver.sound(20)
    end = driver.alerts[-1].body
    assert end["duration_seconds"] == pytest.approx(20.5, abs=1)
    assert end["end_reason"] == "offset"
    assert end["windows"] >= end["hits"] > 30
    assert end["end"] is not None


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({}, ["siren", "gun_shot"]),
        ({"labels": ["siren"]}, ["siren"]),
        ({"sources": ["street"]}, ["siren", "gun_shot"]),
        ({"sources": ["yard"]}, []),
    ],
)
def test_a_rule_is_about_its_labels_and_sources(
    settings: dict[str, Any], labels: list[str]
) -> None:
    driver = RuleDriver(rules(rule(**settings)))
    driver.sound(3, "siren")
    driver.sound(3, "gun_shot")
    assert [alert.body["label"] for alert in driver.alerts] == labels


def test_a_sound_is_reported_as_soon_as_its_score_is_high_enough() -> None:
    driver = RuleDriver(rules(rule(min_score=0.95)))
    driver.begin(peak_score=0.7)
    driver.listen(3, score=0.8)
    assert driver.kinds == []
    driver.listen(3, score=0.96)
    assert driver.kinds == ["onset"]


def test_a_sound_that_was_just_reported_is_repeated_at_the_next_multiple() -> None:
    driver = RuleDriver(rules(rule(min_score=0.95, still_on_seconds=10)))
    driver.begin(peak_score=0.7)
    driver.listen(15, score=0.8)
    driver.listen(2, score=0.96)
    assert driver.kinds == ["onset"]
    driver.listen(4)
    assert driver.kinds == ["onset", "still_on"]


def test_a_sound_that_never_ends_is_forgotten_with_the_next_of_its_label() -> None:
    driver = RuleDriver(rules(rule()))
    driver.begin()
    driver.begin()
    assert list(driver.rules.state()["rules"]["siren"]["cases"]) == ["session-street-2"]


def test_a_restart_forgets_neither_the_quota_nor_the_digest() -> None:
    before = RuleDriver(rules(rule(max_per_hour=1)))
    before.sound()
    before.sound()
    after = RuleDriver(rules(rule(max_per_hour=1)), before.now)
    after.rules.restore(json.loads(json.dumps(before.rules.state())))
    after.number = before.number
    after.sound()
    assert after.kinds == []
    (digest,) = after.rules.tick(after.now + timedelta(minutes=61))
    assert digest.body["count"] == 2


def test_a_sound_is_reported_as_soon_as_it_is_loud_enough() -> None:
    driver = RuleDriver(rules(rule(min_level_dbfs=-20, on=["onset", "end"])))
    driver.begin(level_dbfs=-40.0)
    driver.listen(3, level=-25)
    assert driver.kinds == []
    driver.hop(level=-19)
    assert driver.kinds == ["onset"]


def test_a_short_sound_is_not_reported_at_all() -> None:
    driver = RuleDriver(rules(rule(min_duration_seconds=8, on=["onset", "end"])))
    driver.sound(5)
    assert driver.kinds == []
    driver.sound(10)
    assert driver.kinds == ["onset", "end"]
    assert driver.alerts[0].body["duration_seconds"] == pytest.approx(8, abs=HOP)


def test_only_the_end_can_be_reported() -> None:
    driver = RuleDriver(rules(rule(on=["end"], min_duration_seconds=4)))
    driver.sound(2)
    driver.sound(6)
    assert driver.kinds == ["end"]


def test_only_the_escalation_can_be_reported() -> None:
    driver = RuleDriver(rules(rule(on=[], escalate_after_seconds=10)))
    driver.sound(6)
    driver.sound(30)
    assert driver.kinds == ["escalation"]


def test_a_sound_in_the_cooldown_is_not_reported_and_neither_is_its_end() -> None:
    driver = RuleDriver(rules(rule(cooldown_seconds=30, on=["onset", "end"])))
    driver.sound(3)
    driver.sound(3)
    driver.sound(3, "gun_shot")  # another label has a cooldown of its own
    driver.listen(40)
    driver.sound(3)
    assert driver.kinds == ["onset", "end"] * 3
    assert [alert.body["label"] for alert in driver.alerts[::2]] == [
        "siren",
        "gun_shot",
        "siren",
    ]


def test_a_long_sound_escalates_although_its_onset_was_in_the_cooldown() -> None:
    driver = RuleDriver(rules(rule(cooldown_seconds=300, escalate_after_seconds=20)))
    driver.sound(3)
    driver.sound(30)
    assert driver.kinds == ["onset", "escalation"]


def test_more_than_the_limit_is_held_back_and_reported_in_one_digest() -> None:
    driver = RuleDriver(rules(rule(max_per_hour=2, on=["onset", "end"])))
    driver.sound(2)
    driver.sound(2)
    began = driver.now
    driver.sound(2)
    driver.sound(2)
    driver.sound(2, "gun_shot")
    assert driver.kinds == ["onset", "end"] * 2
    held_at = driver.now
    early = driver.rules.tick(held_at + timedelta(minutes=50))
    assert early == []
    (digest,) = driver.rules.tick(held_at + timedelta(minutes=61))
    assert digest.kind == "digest"
    assert digest.body["count"] == 3
    assert digest.body["sounds"] == [
        {"source": "street", "label": "siren", "count": 2},
        {"source": "street", "label": "gun_shot", "count": 1},
    ]
    assert len(digest.body["examples"]) == 3
    assert digest.body["examples"][0] == {
        "source": "street",
        "label": "siren",
        "event_id": "session-street-3",
        "start": f"{began:%Y-%m-%dT%H:%M:%S}.{began.microsecond // 1000:03}Z",
        "peak_score": 0.93,
    }
    assert "siren at street 2 times, gun_shot at street once" in digest.body["message"]
    assert driver.rules.tick(held_at + timedelta(hours=5)) == []


def test_the_limit_holds_for_any_hour() -> None:
    driver = RuleDriver(rules(rule(max_per_hour=3)))
    for _ in range(200):
        driver.sound(2)
        driver.listen(60)
    moments = [alert.created for alert in driver.alerts]
    for index in range(len(moments) - 3):
        assert moments[index + 3] - moments[index] >= timedelta(hours=1)
    assert len(moments) > 9


def test_in_a_quiet_time_only_the_ends_of_reported_sounds_are_reported() -> None:
    settings = rule(
        on=["onset", "end"],
        still_on_seconds=20,
        time_zone="UTC",
        quiet=[{"begin": "12:01", "end": "12:03"}],
    )
    driver = RuleDriver(rules(settings))
    driver.begin()
    driver.listen(70)  # into the quiet time
    driver.end()
    assert driver.kinds == ["onset", "still_on", "still_on", "end"]
    driver.alerts.clear()
    driver.sound(10)
    assert driver.kinds == []
    driver.begin()
    driver.listen(120)  # out of the quiet time
    assert driver.kinds[0] == "onset"
    assert f"{driver.alerts[0].created:%H:%M}" == "12:03"


def test_a_digest_waits_for_the_end_of_the_quiet_time() -> None:
    settings = rule(
        max_per_hour=1, time_zone="UTC", quiet=[{"begin": "13:00", "end": "15:00"}]
    )
    driver = RuleDriver(rules(settings))
    driver.sound()
    driver.sound()
    assert driver.rules.tick(NOW + timedelta(hours=2)) == []
    assert len(driver.rules.tick(NOW + timedelta(hours=3))) == 1


def test_every_endpoint_of_a_rule_gets_an_alert_with_an_id_of_its_own() -> None:
    settings = rule(
        webhook={"url": "http://localhost/"}, command=["true"], on=["onset"]
    )
    driver = RuleDriver(rules(settings))
    driver.begin()
    assert [alert.endpoint for alert in driver.alerts] == [
        "siren/webhook",
        "siren/command",
    ]
    assert len({alert.id for alert in driver.alerts}) == 2


def test_the_end_of_a_sound_reported_before_a_crash_is_reported_after_it() -> None:
    settings = rule(on=["onset", "end"], cooldown_seconds=60)
    before = RuleDriver(rules(settings))
    before.begin()
    before.listen(5)
    state = json.loads(json.dumps(before.rules.state()))
    after = RuleDriver(rules(settings), before.now)
    after.rules.restore(state)
    after.going_on, after.seconds = before.going_on, before.seconds
    after.end(end_reason="interrupted")
    (end,) = after.alerts
    assert end.kind == "end"
    assert end.event_id == before.alerts[0].event_id
    assert end.body["end_reason"] == "interrupted"
    after.sound()
    assert after.kinds == ["end"]  # the cooldown is remembered too


def test_a_crash_between_making_and_storing_gives_the_same_ids_again() -> None:
    first, second = (RuleDriver(rules(rule())) for _ in range(2))
    first.sound()
    second.sound()
    assert [a.id for a in first.alerts] == [a.id for a in second.alerts]


def test_the_state_changes_only_with_a_record() -> None:
    driver = RuleDriver(rules(rule(on=["onset", "end"])))
    driver.begin()
    driver.hop()
    state = driver.rules.state()
    driver.listen(60)
    assert driver.rules.state() == state


def test_a_clock_that_is_set_back_ends_cooldown_and_limit() -> None:
    driver = RuleDriver(rules(rule(cooldown_seconds=60, max_per_hour=1)))
    driver.sound()
    driver.began -= timedelta(days=1)
    driver.sound()
    assert driver.kinds == ["onset", "onset"]


steps = st.lists(
    st.tuples(
        st.sampled_from(["siren", "gun_shot"]), st.floats(0.6, 30), st.floats(0.6, 120)
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(
    steps,
    st.sets(st.sampled_from(["onset", "end"]), min_size=1),
    st.floats(0, 60),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 5.0]),
)
def test_no_id_comes_twice_and_every_reported_sound_is_ended_last(
    sounds: Sequence[tuple[str, float, float]],
    on: set[str],
    cooldown: float,
    limit: int | None,
    escalate: float | None,
) -> None:
    driver = RuleDriver(
        rules(
            rule(
                on=sorted(on),
                cooldown_seconds=cooldown,
                max_per_hour=limit,
                escalate_after_seconds=escalate,
            )
        )
    )
    for label, seconds, pause in sounds:
        driver.sound(seconds, label)
        driver.listen(pause)
    ids = [alert.id for alert in driver.alerts]
    assert len(ids) == len(set(ids))
    by_event: dict[str | None, list[str]] = {}
    for alert in driver.alerts:
        by_event.setdefault(alert.event_id, []).append(alert.kind)
    for kinds in by_event.values():
        assert kinds.count("onset") <= 1
        assert ("end" in kinds) == ("end" in on)
        assert "end" not in kinds[:-1]
