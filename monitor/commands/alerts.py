"""`sound-monitor alerts`: the outbox, and a test of every endpoint."""

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.errors import SoundMonitorError, UsageError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.sinks.alerts.outbox import Entry, Outbox

HELP = """See and steer the alerts: what waits, what arrived, what was given up.

\b
Examples:
  sound-monitor alerts test                send a test alert to every endpoint
  sound-monitor alerts list --state dead   what could not be delivered
  sound-monitor alerts show 3f2a           one alert and every attempt
  sound-monitor alerts retry 3f2a          deliver it after all
  sound-monitor alerts drop --rule siren   do not deliver what waits
"""

alerts = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StateName = Literal["pending", "delivered", "dead", "dropped"]
IdArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", show_default=False, help="An id, or its beginning."
    ),
]
RuleOption = Annotated[
    str | None,
    typer.Option("--rule", metavar="NAME", show_default=False, help="Only this rule."),
]
StateOption = Annotated[
    StateName | None,
    typer.Option("--state", show_default=False, help="Only alerts in this state."),
]


@alerts.command("test")
def send_tests(
    endpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RULE[/HOOK]]...",
            show_default=False,
            help="Rules or endpoints; without any: all.",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Send a test alert at once, past the outbox; exit code 1 if one fails."""
    from monitor.commands.configuration import load
    from monitor.commands.output import print_json, print_table
    from monitor.sinks.alerts.build import build_hooks, close_hooks, send_test
    from monitor.sinks.alerts.hooks.hook import Delivered

    rules = load(config).config.alerts
    known = [endpoint for rule in rules for endpoint in rule.endpoints]
    chosen = _choose(endpoints or [], known)
    hooks = build_hooks(rules, os.environ)
    try:
        results = [
            (name, hooks[name].target, send_test(name, hooks[name])) for name in chosen
        ]
    finally:
        close_hooks(hooks)
    rows = [
        (
            name,
            target,
            "arrived" if isinstance(outcome, Delivered) else "FAILED",
            outcome.detail if isinstance(outcome, Delivered) else outcome.reason,
        )
        for name, target, outcome in results
    ]
    if as_json:
        keys = ("endpoint", "target", "outcome", "detail")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        print_table(("ENDPOINT", "TARGET", "OUTCOME", "DETAIL"), rows)
    return 0 if all(isinstance(each, Delivered) for _, _, each in results) else 1


@alerts.command("list")
def list_alerts(
    state: StateOption = None,
    rule: RuleOption = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print the alerts of the outbox, oldest first."""
    from monitor.commands.output import print_json, print_table

    outbox = _outbox(config)
    entries = outbox.entries(state=state, rule=rule, limit=limit)
    outbox.close()
    if as_json:
        print_json([_facts(entry) for entry in entries])
        return 0
    print_table(
        ("ID", "CREATED", "ENDPOINT", "KIND", "STATE", "ATTEMPTS", "MESSAGE"),
        [
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
        ],
    )
    return 0


@alerts.command("show")
def show(
    alert_id: Annotated[
        str, typer.Argument(metavar="ID", help="An id, or its beginning.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print one alert, what is sent, and every attempt."""
    import json

    from monitor.commands.output import print_json, print_line
    from monitor.text import utc_text

    outbox = _outbox(config)
    (entry,) = _find(outbox, [alert_id])
    attempts = [
        {
            "at": utc_text(attempt.at),
            "outcome": attempt.outcome,
            "detail": attempt.detail,
            "duration_seconds": attempt.duration_seconds,
        }
        for attempt in outbox.attempts(entry.alert.id)
    ]
    outbox.close()
    facts = {**_facts(entry), "tries": attempts, "body": dict(entry.alert.body)}
    if as_json:
        print_json(facts)
        return 0
    for name, value in facts.items():
        if name not in ("tries", "body"):
            print_line(f"{name}: {'-' if value is None else value}")
    for attempt in attempts:
        print_line(
            f"{attempt['at']}  {attempt['outcome']} in "
            f"{attempt['duration_seconds']:.3f} s: {attempt['detail']}"
        )
    for line in json.dumps(dict(entry.alert.body), indent=2).splitlines():
        print_line(line)
    return 0


@alerts.command("retry")
def retry(
    ids: IdArguments = None,
    state: StateOption = None,
    rule: RuleOption = None,
    config: ConfigOption = None,
) -> int:
    """Have alerts delivered that wait, died or were dropped; with a day's time."""
    from monitor.commands.output import print_line

    outbox = _outbox(config)
    now = datetime.now(UTC)
    entries = _chosen(outbox, ids, state, rule)
    count = sum(
        outbox.retry(entry.alert.id, now, now + timedelta(days=1)) for entry in entries
    )
    outbox.close()
    print_line(f"{count} of {len(entries)} alerts will be delivered")
    return 0 if count == len(entries) else 1


@alerts.command("drop")
def drop(
    ids: IdArguments = None,
    state: StateOption = None,
    rule: RuleOption = None,
    config: ConfigOption = None,
) -> int:
    """Have alerts not delivered that wait, or died."""
    from monitor.commands.output import print_line

    outbox = _outbox(config)
    entries = _chosen(outbox, ids, state, rule)
    count = sum(outbox.drop(entry.alert.id) for entry in entries)
    outbox.close()
    print_line(f"{count} of {len(entries)} alerts are dropped")
    return 0 if count == len(entries) else 1


def _choose(wanted: list[str], known: list[str]) -> list[str]:
    if not known:
        raise UsageError("the configuration has no alerts")
    chosen = []
    for word in wanted:
        found = [name for name in known if word in (name, name.partition("/")[0])]
        if not found:
            raise UsageError(
                f"{word!r} is no rule and no endpoint; choose from {', '.join(known)}"
            )
        chosen += found
    return list(dict.fromkeys(chosen)) or known


def _outbox(config: Any) -> "Outbox":
    from monitor.commands.arguments import database_path
    from monitor.commands.configuration import load
    from monitor.sinks.alerts.outbox import Outbox
    from monitor.sinks.store.database import open_database

    configuration: Configuration = load(config)
    path = database_path(configuration)
    if not path.exists():
        raise SoundMonitorError(f"{path}: there is no database yet; `run` makes it")
    return Outbox(open_database(path))


def _chosen(
    outbox: "Outbox", ids: list[str] | None, state: StateName | None, rule: str | None
) -> "list[Entry]":
    """Alerts by id, or by state and rule; without any choice none is touched."""
    if ids:
        return _find(outbox, ids)
    if state is None and rule is None:
        raise UsageError("name alerts by their ids, or by --state or --rule")
    states = [state] if state else ["pending", "dead"]
    return [
        entry
        for entry in outbox.entries(rule=rule, limit=1_000_000)
        if entry.state in states
    ]


def _find(outbox: "Outbox", ids: list[str]) -> "list[Entry]":
    entries = []
    for start in ids:
        found = outbox.find(start)
        if not found:
            raise SoundMonitorError(f"there is no alert {start!r}; see 'alerts list'")
        if len(found) > 1:
            raise SoundMonitorError(f"several ids begin with {start!r}; write more")
        entries += found
    return entries


def _facts(entry: "Entry") -> dict[str, Any]:
    from monitor.text import utc_text

    alert = entry.alert
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
        "next_attempt": utc_text(entry.next_attempt)
        if entry.state == "pending"
        else None,
        "last_error": entry.last_error,
        "message": alert.body.get("message"),
    }
