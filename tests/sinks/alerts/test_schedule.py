"""An alert is tried, passed over or given up by the time that has really passed."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.sinks.alerts.alert import Entry
from monitor.sinks.alerts.schedule import (
    GIVE_UP_SECONDS,
    PASS_OVER_ATTEMPTS,
    Schedule,
    back_off_seconds,
)
from tests.support.alerts import alert
from tests.support.clock import FakeClock

DAY = 86_400.0


class Trial:
    """A schedule under a clock that steps; the jitter draws the whole back-off."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.schedule = Schedule(self.clock.wall, self.clock.seconds, lambda: 1.0)

    def step_wall(self, seconds: float) -> None:
        self.clock.wall += timedelta(seconds=seconds)

    def entry(self, number: int = 1, seconds: float = DAY) -> Entry:
        made = alert(number, created=self.clock.wall, seconds=seconds)
        return Entry(made, "pending", 0, made.created, None)

    def fail(
        self,
        entry: Entry,
        asked_seconds: float | None = None,
        *,
        is_by_hand: bool = False,
    ) -> Entry:
        """Fail once it is due, or at once by hand."""
        if not is_by_hand:
            self.clock.advance(max(0.0, self.wait_seconds(entry)))
        entry = replace(entry, attempts=entry.attempts + 1)
        clock = self.clock
        at = self.schedule.note_failure(entry, asked_seconds, clock.wall, clock.seconds)
        return replace(entry, next_attempt=at)

    def wait_seconds(self, entry: Entry) -> float:
        return round(self.schedule.wait_seconds(entry, self.clock.seconds), 6)

    def is_expired(self, entry: Entry) -> bool:
        return self.schedule.is_expired(entry, self.clock.wall, self.clock.seconds)

    def fail_for(self, entry: Entry, seconds: float) -> Entry:
        until = self.clock.seconds + seconds
        while self.clock.seconds < until:
            entry = self.fail(entry)
            left = until - self.clock.seconds
            self.clock.advance(min(left, self.wait_seconds(entry)))
        return entry


@given(st.floats(-5 * DAY, 400 * DAY))
def test_a_step_of_the_wall_clock_changes_no_pause(step: float) -> None:
    trial = Trial()
    entry = trial.fail(trial.fail(trial.entry()))
    assert trial.wait_seconds(entry) == 2.0
    trial.step_wall(step)
    trial.clock.advance(0.5)
    assert trial.wait_seconds(entry) == 1.5


@given(st.floats(-5 * DAY, 400 * DAY))
def test_a_step_of_the_wall_clock_gives_up_no_alert(step: float) -> None:
    trial = Trial()
    entry = trial.entry()
    assert not trial.is_expired(entry)
    trial.step_wall(step)
    assert not trial.is_expired(entry)
    entry = trial.fail_for(entry, DAY - 1)
    assert not trial.is_expired(entry)
    if not -DAY - 1 < step < 0:
        trial.clock.advance(1)
        assert trial.is_expired(entry)


def test_a_deadline_of_seconds_ends_an_alert_after_them() -> None:
    trial = Trial()
    entry = trial.fail(trial.entry(seconds=60))
    trial.clock.advance(59)
    assert not trial.is_expired(entry)
    trial.clock.advance(1)
    assert trial.is_expired(entry)


def test_an_alert_of_an_earlier_run_gets_attempts_whatever_the_clock_shows() -> None:
    trial = Trial()
    entry = trial.entry()
    trial.step_wall(400 * DAY)
    trial.schedule = Schedule(trial.clock.wall, trial.clock.seconds, lambda: 1.0)
    assert not trial.is_expired(entry)
    entry = trial.fail_for(entry, GIVE_UP_SECONDS - 1)
    assert entry.attempts > 10
    assert not trial.is_expired(entry)
    trial.clock.advance(1)
    assert trial.is_expired(entry)
    # So are those behind it: they could not arrive either.
    assert trial.is_expired(replace(entry, attempts=0))


def test_an_alert_of_a_clock_that_was_ahead_is_not_kept_for_so_long() -> None:
    trial = Trial()
    trial.step_wall(400 * DAY)
    entry = trial.entry()
    trial.step_wall(-400 * DAY)
    entry = trial.fail_for(entry, DAY - 1)
    assert not trial.is_expired(entry)
    trial.clock.advance(1)
    assert trial.is_expired(entry)


def test_an_alert_of_an_earlier_run_is_due_at_once() -> None:
    trial = Trial()
    entry = replace(trial.entry(), attempts=9)
    entry = replace(entry, next_attempt=trial.clock.wall + timedelta(days=5))
    assert trial.wait_seconds(entry) == 0
    assert trial.wait_seconds(trial.fail(entry)) == 512


def test_the_user_may_ask_for_an_attempt_now() -> None:
    trial = Trial()
    entry = trial.fail(trial.entry(), 1000)
    assert trial.wait_seconds(entry) == 1000
    assert trial.wait_seconds(replace(entry, next_attempt=trial.clock.wall)) == 0


def test_an_attempt_by_hand_does_not_put_off_the_next_one() -> None:
    trial = Trial()
    entry = trial.fail_for(trial.entry(), 100)
    wait_seconds, next_attempt = trial.wait_seconds(entry), entry.next_attempt
    assert wait_seconds > 10
    trial.clock.advance(1)
    for _ in range(3):
        asked = replace(entry, next_attempt=trial.clock.wall)
        entry = trial.fail(asked, is_by_hand=True)
        assert entry.next_attempt == next_attempt
        assert trial.wait_seconds(entry) == wait_seconds - 1
    assert trial.wait_seconds(trial.fail(entry, 5000, is_by_hand=True)) >= 5000


@given(st.floats(0, 3600))
def test_the_pause_is_what_the_endpoint_asks_for_or_longer(asked: float) -> None:
    trial = Trial()
    entry = trial.fail_for(trial.entry(), 20)
    failed = trial.fail(entry, asked)
    own = back_off_seconds(failed.attempts, lambda: 1.0)
    assert trial.wait_seconds(failed) == round(max(own, asked), 6)
    # Another alert to the same endpoint does not come sooner.
    assert trial.wait_seconds(trial.entry(2)) == trial.wait_seconds(failed)


def fail_until_passed_over(trial: Trial, entry: Entry) -> Entry:
    for _ in range(PASS_OVER_ATTEMPTS):
        assert not trial.schedule.may_pass_over(entry)
        entry = trial.fail(entry)
    assert trial.schedule.may_pass_over(entry)
    trial.schedule.pass_over(entry)
    return entry


def test_an_alert_is_passed_over_if_the_endpoint_takes_the_next_one() -> None:
    trial = Trial()
    first, second = trial.entry(1), trial.entry(2)
    first = fail_until_passed_over(trial, first)
    assert trial.wait_seconds(second) <= 0
    trial.schedule.note_answer(second.alert.id)
    assert trial.schedule.passed_over == (first.alert.id,)
    # The endpoint may work since this moment: the first is tried once more.
    now = trial.clock.seconds
    assert trial.schedule.due_among_passed_over(now) == first.alert.id
    first = trial.fail(first)
    assert trial.schedule.due_among_passed_over(now) is None
    assert trial.schedule.failures == 0
    trial.schedule.note_answer(first.alert.id)
    assert trial.schedule.passed_over == ()


def test_an_alert_passed_over_waits_for_the_pause_of_the_endpoint_too() -> None:
    trial = Trial()
    first, second = trial.entry(1), trial.entry(2)
    first = fail_until_passed_over(trial, first)
    trial.schedule.note_answer(second.alert.id)
    trial.fail(trial.entry(3), 1000)
    key, now = first.alert.id, trial.clock.seconds
    assert trial.schedule.due_among_passed_over(now) is None
    assert trial.schedule.due_among_passed_over(now + 1000) == key


def test_if_the_next_one_fails_too_the_order_stays() -> None:
    trial = Trial()
    first, second = trial.entry(1), trial.entry(2)
    first = fail_until_passed_over(trial, first)
    trial.fail(second)
    assert trial.schedule.passed_over == ()
    assert trial.wait_seconds(first) == 16
    trial.clock.advance(16)
    trial.schedule.note_answer(first.alert.id)
    assert trial.wait_seconds(second) <= 0


def test_without_an_alert_behind_it_the_order_stays() -> None:
    trial = Trial()
    first = fail_until_passed_over(trial, trial.entry(1))
    trial.schedule.clear_suspect()
    assert trial.schedule.passed_over == ()
    assert trial.wait_seconds(first) == 16


def test_an_endpoint_that_is_down_keeps_the_order_however_often_it_is_tried() -> None:
    """The alert behind fails on trial again and again, and is never passed over."""
    trial = Trial()
    first, behind = trial.entry(1), trial.entry(2)
    trials = 0
    for _ in range(4 * PASS_OVER_ATTEMPTS):
        first = trial.fail(first)
        if trial.schedule.may_pass_over(first):
            trial.schedule.pass_over(first)
            behind = trial.fail(behind)
            trials += 1
            assert not trial.schedule.may_pass_over(behind)
        assert trial.schedule.passed_over == ()
        assert trial.schedule.due_among_passed_over(trial.clock.seconds) is None
        waits = trial.wait_seconds(first)
        assert waits > 0
        trial.clock.seconds += waits
    assert trials > PASS_OVER_ATTEMPTS
