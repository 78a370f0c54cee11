"""`sound-monitor alerts`: list, retry and drop alerts, and test endpoints."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from monitor.commands.arguments import (
    ConfigOption,
    JsonOption,
    argument,
    database_path,
    option,
)
from monitor.commands.process import (
    Command,
    Group,
    print_help_without_command,
    print_json,
    print_line,
    print_table,
)
from monitor.errors import SoundMonitorError, UsageError
from monitor.text import counted, utc_text

if TYPE_CHECKING:
    from monitor.sinks.alerts.alert import Entry
    from monitor.sinks.alerts.outbox import Outbox

HELP = """List, retry and drop alerts, and test their endpoints.

An alert is pending until it is delivered.  It is dead after its deadline, or
when the endpoint rejects it for good, and dropped when 'alerts drop' cancels
it.

Examples:
  sound-monitor alerts test                send a test alert to every endpoint
  sound-monitor alerts list --state dead   list alerts that failed
  sound-monitor alerts show 3f2a           show an alert and every attempt
  sound-monitor alerts retry 3f2a          deliver it after all
  sound-monitor alerts drop --rule siren   cancel the pending alerts of a rule
"""

alerts = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    callback=print_help_without_command,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StateName = Literal["pending", "delivered", "dead", "dropped"]
IdArguments = Annotated[
    list[str] | None, argument("ID", "Ids of alerts, or their beginnings.")
]
RuleOption = Annotated[str | None, option("NAME", "Only alerts of this rule.")]
StateOption = Annotated[StateName | None, option(None, "Only alerts in this state.")]


@alerts.command("test", cls=Command)
def send_tests(
    endpoints: Annotated[
        list[str] | None,
        argument("RULE[/HOOK]", "Rules or endpoints; all of them by default."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Send a test alert to endpoints now; the exit code is 1 if one fails."""
    from monitor.commands.configuration import load
    from monitor.sinks.alerts.build import build_hooks, close_hooks, send_test
    from monitor.sinks.alerts.hooks import Delivered
    from monitor.sinks.alerts.secrets import hide_secrets

    settings = load(config).config
    rules = settings.alerts
    known = [endpoint for rule in rules for endpoint in rule.endpoints]
    chosen = _choose(endpoints or [], known)
    hooks = build_hooks(rules, os.environ)
    hide_secrets(settings.model_dump())
    try:
        outcomes = [send_test(name, hooks[name]) for name in chosen]
    finally:
        close_hooks(hooks)
    rows = [
        (name, hooks[name].target, "arrived", outcome.detail)
        if isinstance(outcome, Delivered)
        else (name, hooks[name].target, "FAILED", outcome.reason)
        for name, outcome in zip(chosen, outcomes, strict=True)
    ]
    if as_json:
        keys = ("endpoint", "target", "outcome", "detail")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        print_table(("ENDPOINT", "TARGET", "OUTCOME", "DETAIL"), rows)
    return 0 if all(isinstance(each, Delivered) for each in outcomes) else 1


@alerts.command("list", cls=Command)
def list_alerts(
    state: StateOption = None,
    rule: RuleOption = None,
    limit: Annotated[int, option("N", "Only the newest N alerts.", min=1)] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """List the newest alerts, oldest first."""
    from monitor.sinks.alerts.alert import STATES

    with _outbox(config, read_only=True) as outbox:
        entries = outbox.entries([state] if state else STATES, rule, limit)
    rows = [
        (
            entry.alert.id[:8],
            f"{entry.alert.created.astimezone():%Y-%m-%d %H:%M:%S}",
            entry.alert.endpoint,
            entry.alert.kind,
            entry.state,
            str(entry.attempts),
            entry.last_error or str(entry.alert.body.get("message", "")),
        )
        for entry in entries
    ]
    if as_json:
        print_json([_facts(entry) for entry in entries])
    else:
        header = ("ID", "CREATED", "ENDPOINT", "KIND", "STATE", "ATTEMPTS", "MESSAGE")
        print_table(header, rows, "no alerts")
    return 0


@alerts.command("show", cls=Command)
def show(
    alert_id: Annotated[str, argument("ID", "Id of an alert, or its beginning.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show one alert, its body, and every attempt to deliver it."""
    with _outbox(config, read_only=True) as outbox:
        (entry,) = _find(outbox, [alert_id])
        attempts = [
            {**asdict(attempt), "at": utc_text(attempt.at)}
            for attempt in outbox.attempts(entry.alert.id)
        ]
    facts, body = _facts(entry), dict(entry.alert.body)
    if as_json:
        print_json({**facts, "tries": attempts, "body": body})
        return 0
    for name, value in facts.items():
        print_line(f"{name}: {'-' if value is None else value}")
    for attempt in attempts:
        print_line(
            f"{attempt['at']}  {attempt['outcome']}: {attempt['detail']} (after "
            f"{attempt['duration_seconds']:.3f} s)"
        )
    for line in json.dumps(body, indent=2).splitlines():
        print_line(line)
    return 0


@alerts.command("retry", cls=Command)
def retry(
    ids: IdArguments = None,
    state: StateOption = None,
    rule: RuleOption = None,
    config: ConfigOption = None,
) -> int:
    """Deliver pending, dead or dropped alerts now, or within a day."""
    now = datetime.now(UTC)
    tomorrow = now + timedelta(days=1)
    with _outbox(config) as outbox:
        chosen = _chosen(outbox, ids, state, rule)
        done = [outbox.retry(entry.alert.id, now, tomorrow) for entry in chosen]
    return _print_changed(done, "made pending")


@alerts.command("drop", cls=Command)
def drop(
    ids: IdArguments = None,
    state: StateOption = None,
    rule: RuleOption = None,
    config: ConfigOption = None,
) -> int:
    """Cancel pending or dead alerts; the exit code is 1 if one cannot be."""
    with _outbox(config) as outbox:
        done = [outbox.drop(it.alert.id) for it in _chosen(outbox, ids, state, rule)]
    return _print_changed(done, "dropped")


def _print_changed(done: list[bool], change: str) -> int:
    if done:
        print_line(f"{sum(done)} of {counted(len(done), 'alert')} {change}")
    else:
        print_line("no alert matches")
    return 0 if all(done) else 1


def _choose(wanted: list[str], known: list[str]) -> list[str]:
    if not known:
        raise UsageError("the configuration has no alerts")
    chosen = []
    for word in wanted:
        found = [name for name in known if word in (name, name.partition("/")[0])]
        if not found:
            raise UsageError(
                f"{word!r} is neither a rule nor an endpoint; choose from "
                f"{', '.join(known)}"
            )
        chosen += found
    return list(dict.fromkeys(chosen)) or known


@contextmanager
def _outbox(config: Path | None, *, read_only: bool = False) -> Iterator["Outbox"]:
    import sqlite3

    from monitor.commands.configuration import load
    from monitor.sinks.alerts.outbox import Outbox
    from monitor.sinks.store.database import Database

    path = database_path(load(config))
    if not path.exists():
        raise SoundMonitorError(f"{path}: there is no database yet; `run` creates it")
    database = Database(path)
    if read_only:
        with closing(database.connect(read_only=True)) as connection:
            database.check_readable(connection)
    else:
        database.prepare(mends=False)
    with closing(Outbox(database, read_only=read_only)) as outbox:
        try:
            yield outbox
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise database.failure(error) from None


def _chosen(
    outbox: "Outbox", ids: list[str] | None, state: StateName | None, rule: str | None
) -> "list[Entry]":
    """Return alerts by id, or by state and rule; there is no way to choose all."""
    if ids:
        return _find(outbox, ids)
    if state is None and rule is None:
        raise UsageError("give the ids of alerts, or --state or --rule")
    return outbox.entries([state] if state else ["pending", "dead"], rule)


def _find(outbox: "Outbox", ids: list[str]) -> "list[Entry]":
    entries = []
    for start in ids:
        found = outbox.find(start)
        if not found:
            raise SoundMonitorError(f"there is no alert {start!r}; see 'alerts list'")
        if len(found) > 1:
            raise SoundMonitorError(
                f"several ids begin with {start!r}; give more of it"
            )
        entries += found
    return entries


def _facts(entry: "Entry") -> dict[str, Any]:
    alert, is_pending = entry.alert, entry.state == "pending"
    return {
        "id": alert.id,
        "endpoint": alert.endpoint,
        "rule": alert.rule,
        "kind": alert.kind,
        "event_id": alert.event_id,
        "created": utc_text(alert.created),
        "deadline": utc_text(alert.deadline),
        "state": entry.state,
        "attempts": entry.attempts,
        "next_attempt": utc_text(entry.next_attempt) if is_pending else None,
        "last_error": entry.last_error,
        "message": alert.body.get("message"),
    }
