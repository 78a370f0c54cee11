"""The commands of the running monitor: reviews, locks, mutes, alerts, sensitivity.

Programs send them over the status socket.  What they write, the thread of the store
writes: the database has one writer.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, model_validator

from monitor.config.base import Settings, Text
from monitor.config.detection import Sensitivity
from monitor.config.load import check_settings
from monitor.errors import ConfigError, SoundMonitorError, StoreBusyError
from monitor.runtime.reload import check_written
from monitor.runtime.sensitivity import change_sensitivity
from monitor.sinks.alerts.build import build_hooks, close_hooks, send_test
from monitor.sinks.alerts.hooks import Delivered
from monitor.sinks.alerts.outbox import alert_state, drop_alert, retry_alert
from monitor.sinks.live import LiveSink
from monitor.sinks.status_client import Document
from monitor.sinks.store.reviews import Verdict, write_lock, write_verdict
from monitor.text import first_fault, name_problem

if TYPE_CHECKING:
    from sqlite3 import Connection

    from monitor.config.outputs import Change
    from monitor.runtime.app import App
    from monitor.runtime.reload import Reread

T = TypeVar("T")
SettingsT = TypeVar("SettingsT", bound=Settings)

DISK_SECONDS = 4.0
BUSY_PAUSE_SECONDS = 0.3
"""Pause between tries while another program locks the database."""

TEST_SECONDS = 8.0
"""Longest time for a test alert: the client waits ten seconds for its answer."""

RELOAD_PAUSE_SECONDS = 0.3
"""Pause before a reload, which closes the socket: first the answer is sent."""

RELOADS_APART_SECONDS = 30.0
"""Shortest time between two reloads for commands: each ends the events that go on."""

MOST_IDS = 500
WEEK_SECONDS = 7 * 86_400
RETRY_PERIOD = timedelta(days=1)
"""Time in which a retried alert must be delivered, at least."""

Label = Annotated[Text, Field(max_length=100)]
Id = Annotated[Text, Field(max_length=200)]


def _is_bounded(ids: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(ids) <= MOST_IDS:
        raise ValueError(f"must be 1 to {MOST_IDS} ids of events")
    return ids


Ids = Annotated[tuple[Id, ...], Field(strict=False), AfterValidator(_is_bounded)]


class _Review(Settings):
    ids: Ids
    verdict: Verdict | None
    label: Label | None = None

    @model_validator(mode="after")
    def _label_comes_with_its_verdict(self) -> "_Review":
        if (self.label is not None) != (self.verdict == "label"):
            raise ValueError("label must be given with the verdict label, and only so")
        if self.label is not None and (problem := name_problem(self.label.rstrip())):
            raise ValueError(f"label cannot be a name: {problem}")
        if self.label is not None and self.label != self.label.rstrip():
            raise ValueError("label cannot be a name: it ends with a space")
        return self


class _Lock(Settings):
    ids: Ids
    locked: bool


class _Mute(Settings):
    rule: Text
    seconds: Annotated[float, Field(ge=0, le=WEEK_SECONDS)]


class _Alert(Settings):
    id: Id


class _Endpoint(Settings):
    endpoint: Text


class _Sensitivity(Settings):
    label: Label | None
    value: Sensitivity | None


class _None(Settings):
    pass


class CommandContext(NamedTuple):
    """The parts of the running monitor that commands use."""

    app: "App"
    reload: Callable[[], None]
    """Asks for a reload.  Any thread."""

    reread: "Reread"
    """Reads the configuration again."""

    def report_change(self, what: str, ids: Sequence[str | None]) -> None:
        """Report to the readers of the live feed what has changed, in one line."""
        for feed in self.app.sinks.others:
            if isinstance(feed, LiveSink):
                feed.announce({"type": "changed", "what": what, "ids": list(ids)})


class MonitorCommands:
    """Does what clients of the status socket ask for.

    It is there before the application, and knows no command until it is attached.
    Called on any thread.
    """

    def __init__(self) -> None:
        """Begin without an application."""
        self._context: CommandContext | None = None
        self._changing = threading.Lock()
        """Held while the overrides are changed, or a reload is planned."""

        self._reload_at = -RELOADS_APART_SECONDS
        """Monotonic time of the latest reload that was planned."""

    def attach(self, context: CommandContext) -> None:
        """Serve commands from now on."""
        self._context = context

    def __call__(self, name: str, arguments: Mapping[str, Any]) -> Document:
        """Do a command; return its result.

        Raises:
            SoundMonitorError: It is unknown, its arguments are wrong, or it cannot be
                done; nothing was changed.
        """
        if name not in COMMANDS:
            raise SoundMonitorError(
                f"there is no command {name!r:.80}; choose from {', '.join(COMMANDS)}"
            )
        if self._context is None:
            raise SoundMonitorError("the monitor is still starting: try it again")
        kind, do = COMMANDS[name]
        try:
            return do(self, self._context, check_settings(kind, arguments, name))
        except ConfigError as error:
            raise SoundMonitorError(first_fault(str(error))) from None

    def review(self, context: CommandContext, wanted: _Review) -> Document:
        """Give events a verdict; return the ones before, for undo."""
        ids = list(dict.fromkeys(wanted.ids))
        now = context.app.environment.clock.utc()
        before = _change(
            context,
            lambda connection: write_verdict(
                connection, ids, wanted.verdict, wanted.label, now=now
            ),
        )
        context.report_change("review", ids)
        return {"reviewed": len(ids), "before": [asdict(each) for each in before]}

    def lock(self, context: CommandContext, wanted: _Lock) -> Document:
        """Lock events, or unlock them."""
        ids = list(dict.fromkeys(wanted.ids))
        now = context.app.environment.clock.utc()
        _change(
            context,
            lambda connection: write_lock(
                connection, ids, locked=wanted.locked, now=now
            ),
        )
        context.report_change("review", ids)
        return {"locked" if wanted.locked else "unlocked": len(ids)}

    def mute(self, context: CommandContext, wanted: _Mute) -> Document:
        """Mute a rule for some seconds; 0 unmutes it."""
        _require(context, "mute")
        app = context.app
        alerting, store = app.plan.alerting, app.sinks.store
        known = [rule.name for rule in app.plan.config.alerts]
        if alerting is None or store is None or wanted.rule not in known:
            raise SoundMonitorError(_unknown("rule", wanted.rule, known))

        def mute() -> tuple[Document | None, bool]:
            alerting.mute(wanted.rule, wanted.seconds)
            mutes = (it for it in alerting.mutes if it["rule"] == wanted.rule)
            return next(mutes, None), store.store_rules()

        mute_of_rule, is_stored = app.sinks.files.ask(mute, DISK_SECONDS)
        context.report_change("mute", [wanted.rule])
        until = None if mute_of_rule is None else mute_of_rule["until"]
        return {"rule": wanted.rule, "until": until, "stored": is_stored}

    def retry(self, context: CommandContext, wanted: _Alert) -> Document:
        """Deliver an alert after all, now or within a day."""
        now = context.app.environment.clock.utc()
        return self._change_alert(
            context,
            wanted.id,
            lambda connection: retry_alert(
                connection, wanted.id, now, now + RETRY_PERIOD
            ),
            "sent again",
        )

    def drop(self, context: CommandContext, wanted: _Alert) -> Document:
        """Cancel an alert."""
        return self._change_alert(
            context,
            wanted.id,
            lambda connection: drop_alert(connection, wanted.id),
            "dropped",
        )

    def test(self, context: CommandContext, wanted: _Endpoint) -> Document:
        """Send a test alert to an endpoint now, past the outbox."""
        app, endpoint = context.app, wanted.endpoint
        rules = app.plan.config.alerts
        known = [name for rule in rules for name in rule.endpoints]
        if endpoint not in known:
            raise SoundMonitorError(_unknown("endpoint", endpoint, known))
        rule = next(it for it in rules if endpoint in it.endpoints)
        hooks = build_hooks([rule], app.environment.environ)
        try:
            outcome = send_test(endpoint, hooks[endpoint], TEST_SECONDS)
        finally:
            close_hooks(hooks)
        answer = {"endpoint": endpoint, "target": hooks[endpoint].target}
        if isinstance(outcome, Delivered):
            return {**answer, "outcome": "arrived", "detail": outcome.detail}
        return {**answer, "outcome": "failed", "detail": outcome.reason}

    def sensitivity(self, context: CommandContext, wanted: _Sensitivity) -> Document:
        """Change a sensitivity for good, and reload; without a value, as configured."""
        _require(context, "sensitivity")
        check_written(context.app)
        with self._changing:
            overrides = change_sensitivity(context.reread(), wanted.label, wanted.value)
        context.report_change("sensitivity", [wanted.label])
        self.reload(context, _None())
        return {"overrides": overrides.model_dump(mode="json", exclude_defaults=True)}

    def reload(self, context: CommandContext, _wanted: _None) -> Document:
        """Plan a reload, unless one is; the outcome is in the status document."""
        with self._changing:
            now = monotonic()
            if self._reload_at <= now:
                earliest = self._reload_at + RELOADS_APART_SECONDS
                self._reload_at = max(now + RELOAD_PAUSE_SECONDS, earliest)
                timer = threading.Timer(self._reload_at - now, context.reload)
                timer.name, timer.daemon = "reload-request", True
                timer.start()
            return {"seconds": round(self._reload_at - now, 1)}

    def _change_alert(
        self,
        context: CommandContext,
        alert_id: str,
        change: "Callable[[Connection], bool]",
        done: str,
    ) -> Document:
        def work(connection: "Connection") -> Document:
            if change(connection):
                return {"id": alert_id, "state": alert_state(connection, alert_id)}
            state = alert_state(connection, alert_id)
            if state is None:
                raise SoundMonitorError(
                    f"there is no alert {alert_id!r:.80}: it may have been deleted"
                )
            raise SoundMonitorError(f"the alert is {state} and cannot be {done}")

        result = _change(context, work)
        if context.app.plan.alerting is not None:
            context.app.plan.alerting.try_now(alert_id)
        context.report_change("alerts", [alert_id])
        return result


def _change(context: CommandContext, work: "Callable[[Connection], T]") -> T:
    """Run `work` as a transaction on the thread of the store, which waits for nobody.

    Its waits for another program that locks the database are here, between the tries.
    """
    sinks = context.app.sinks
    store = sinks.store
    if store is None:
        raise SoundMonitorError("this monitor has no database: store.path is null")
    until = monotonic() + DISK_SECONDS
    while True:
        try:
            return sinks.files.ask(lambda: store.change(work), DISK_SECONDS)
        except StoreBusyError:
            if monotonic() >= until:
                raise
            sleep(BUSY_PAUSE_SECONDS)


def _require(context: CommandContext, change: "Change") -> None:
    config = context.app.plan.config
    if change not in (*config.web.may_change, *config.mqtt.may_change):
        raise SoundMonitorError(
            f"web.may_change of the configuration does not allow this: add {change}"
        )


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    choice = ", ".join(known)
    rest = f"choose from {choice}" if choice else "the configuration has no alerts"
    return f"there is no {kind} {name!r:.80}; {rest}"


COMMANDS: Mapping[
    str,
    tuple[type[Settings], Callable[[MonitorCommands, CommandContext, Any], Document]],
] = {
    "review": (_Review, MonitorCommands.review),
    "lock": (_Lock, MonitorCommands.lock),
    "mute": (_Mute, MonitorCommands.mute),
    "alert_retry": (_Alert, MonitorCommands.retry),
    "alert_drop": (_Alert, MonitorCommands.drop),
    "alert_test": (_Endpoint, MonitorCommands.test),
    "sensitivity": (_Sensitivity, MonitorCommands.sensitivity),
    "reload": (_None, MonitorCommands.reload),
}
"""The commands by name, with the form of their arguments."""
