"""`sound-monitor collect`: the records of many monitors into PostgreSQL."""

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from monitor.commands.arguments import JsonOption, flag, option
from monitor.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from monitor.config.publish import FleetBroker
    from monitor.fleet.collect.database import Keep
    from monitor.sinks.alerts.hooks import Hook

HELP = """Collect the records of many monitors from a broker into PostgreSQL.

Each monitor publishes its records (its section `publish`) to an MQTT 5 broker
or to NATS.  This command stores them, asks for those that are missing, and
refuses what is no valid record.  Several may run at once and share the work;
none loses or doubles a record when it is killed.  It needs the extra `fleet`.

Passwords are in no argument: for the database see PGPASSFILE or PGPASSWORD,
for the broker name the place, such as file:/etc/sound-monitor/broker.

Examples:
  sound-monitor collect --database postgresql:///fleet --broker mqtt://nas
  sound-monitor collect --database postgresql:///fleet --broker tls://nas \\
    --nkey file:/etc/sound-monitor/collector.nk
  sound-monitor collect --database postgresql:///fleet --status
"""

LEAVE_SECONDS = 10.0
"""Longest wait for a file of Parquet that is being written."""

ABANDON_SECONDS = 20
"""Time after which it ends though the database does not answer."""


def collect(
    database: Annotated[
        str, option("URL", "The fleet's database, postgresql://[USER@]HOST/NAME.")
    ],
    broker: Annotated[
        str | None,
        option("URL", "mqtt://HOST, mqtts://HOST, nats://HOST or tls://HOST (NATS)."),
    ] = None,
    prefix: Annotated[
        str | None,
        option(
            "NAME", "First level of the topics.", show_default="sound-monitor-fleet"
        ),
    ] = None,
    username: Annotated[str | None, option("NAME", "User name for the broker.")] = None,
    password: Annotated[
        str | None,
        option("PLACE", "Its password: file:PATH, env:NAME or credential:NAME."),
    ] = None,
    nkey: Annotated[
        str | None, option("PLACE", "Seed of the NKey for NATS, likewise.")
    ] = None,
    ca_file: Annotated[
        str | None, option("FILE", "Certificate authorities to trust, PEM.")
    ] = None,
    parquet: Annotated[
        Path | None,
        option("DIR", "Write Parquet too, by site and day, once a day is over."),
    ] = None,
    webhook: Annotated[
        Path | None,
        option("FILE", "YAML of a webhook that is told which monitors are deaf."),
    ] = None,
    keep_days: Annotated[
        float, option("DAYS", "Records are deleted after so long.", min=1)
    ] = 400.0,
    keep_scores_days: Annotated[
        float | None,
        option(
            "DAYS", "Scores too, but earlier.", min=1, show_default="as all records"
        ),
    ] = None,
    status: Annotated[
        bool, flag("--status", "Print how the fleet is doing, and end.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Collect until stopped, or print the status of the fleet."""
    from monitor.extras import require_extra

    require_extra("fleet", "psycopg", "sound-monitor collect")
    check_address(database, "--database")
    if status:
        return _status(database, as_json=as_json)
    if as_json:
        raise UsageError("--json needs --status")
    if broker is None:
        raise UsageError("--broker is missing: mqtt://HOST or nats://HOST")
    from monitor.config.load import check_settings
    from monitor.config.publish import FleetBroker
    from monitor.fleet.collect.database import Keep

    chosen = {"url": broker, "prefix": prefix, "username": username}
    chosen |= {"password": password, "nkey": nkey, "ca_file": ca_file}
    given = {key: value for key, value in chosen.items() if value is not None}
    keep = Keep(keep_days, min(keep_days, keep_scores_days or keep_days))
    try:
        settings = check_settings(FleetBroker, given, "--broker")
    except ConfigError as error:  # the keys of the settings are options here
        raise ConfigError(_as_options(str(error))) from None
    hook = None if webhook is None else _webhook(webhook)
    return _collect(database, settings, keep, parquet, hook)


def check_address(url: str, name: str) -> None:
    """Check the address of the database, which the option `name` gives.

    Raises:
        UsageError: It is none, or has a password, which everybody could read.
    """
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or "password" in parts.query
    except ValueError:
        raise UsageError(f"{name}: the address has a part that is none") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise UsageError(f"{name}: must begin with postgresql://")
    if has_password:
        raise UsageError(
            f"{name}: everybody can read a password in the address; put it into the "
            "file that PGPASSFILE names, or into PGPASSWORD"
        )


def _as_options(text: str) -> str:
    """Name the option instead of the key in each line of a message."""
    named = re.sub(r"^--broker: (username|password|nkey|prefix): ", r"--\1: ", text)
    named = re.sub(r"^--broker: ca_file: ", "--ca-file: ", named)
    return re.sub(r"^--broker: url: ", "--broker: ", named)


def _status(url: str, *, as_json: bool) -> int:
    from monitor.commands.process import print_json, print_lines
    from monitor.fleet.collect.status import read_status, status_lines

    document = read_status(url)
    if as_json:
        print_json(document)
    else:
        print_lines(status_lines(document))
    return 1 if document["deaf"] or not document["monitors"] else 0


def _webhook(path: Path) -> "Hook":
    from monitor.commands.configuration_file import read_file
    from monitor.config.hooks import WebhookSettings
    from monitor.config.load import parse_settings
    from monitor.sinks.alerts.hooks.webhook import Webhook

    settings = parse_settings(WebhookSettings, read_file(path, "webhook"), str(path))
    return Webhook(settings, str(path), os.environ)


def _collect(
    url: str,
    broker: "FleetBroker",
    keep: "Keep",
    parquet: Path | None,
    hook: "Hook | None",
) -> int:
    import psycopg

    from monitor.__main__ import INTERRUPTED
    from monitor.commands.process import log_to_stderr, print_error
    from monitor.errors import StoreError
    from monitor.fleet.collect.collector import Collector
    from monitor.fleet.collect.database import FleetDatabase
    from monitor.fleet.collect.subscription import open_subscription
    from monitor.runtime.threads import Threads
    from monitor.text import first_line

    log_to_stderr()
    if parquet is not None:
        try:
            parquet.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--parquet: {parquet}: {error.strerror}") from None
    threads, signals = Threads(), []

    def end(number: int, _frame: object) -> None:
        signals.append(number)
        threads.stop.set()
        signal.alarm(ABANDON_SECONDS)

    def abandon(_number: int, _frame: object) -> None:
        print_error(
            "the fleet's database does not answer, and is left: what it has not stored "
            "comes again"
        )
        os._exit(1)

    database = FleetDatabase(url, keep)
    try:
        # A mistake in the address ends it; later the database is waited for.
        database.connection()
    except psycopg.Error as error:
        raise StoreError(f"the fleet's database: {first_line(error)}") from None
    subscription = open_subscription(broker, os.environ)
    signal.signal(signal.SIGALRM, abandon)
    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
    try:
        if parquet is not None:
            from monitor.fleet.collect.export import Exporter

            threads.start("parquet", Exporter(url, parquet).run)
        if hook is not None:
            from monitor.fleet.collect.notices import Notifier

            notifier = Notifier(FleetDatabase(url, keep), hook)
            threads.start("notices", notifier.run)
        Collector(database, subscription).run(threads.stop)
    finally:
        threads.stop.set()
        subscription.close()
        database.close()
        threads.join(LEAVE_SECONDS)
        signal.alarm(0)
    if threads.failure is not None:
        raise threads.failure
    return INTERRUPTED if signal.SIGINT in signals else 0
