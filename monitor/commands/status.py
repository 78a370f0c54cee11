"""`sound-monitor status`: how the running monitor is doing.

How a monitor is doing, put into words and columns for people.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.commands.output import print_line, print_table
from monitor.errors import ConfigError, UsageError
from monitor.text import GAP_REASONS, duration, level, local_time

HELP = """Say how the running monitor is doing.

The first line says whether it truly listens: sound comes in from every source, and is
analysed.  If so the exit code is 0; it is 1 if something is not listened to, or if
there is no monitor, or one that hangs.

The monitor is asked on a private socket, by its user or root: as a service, with sudo.

\b
Examples:
  sound-monitor status
  sudo sound-monitor status --json
"""


def status(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Print what the monitor that runs with this configuration tells of itself."""
    from monitor.commands.output import print_error, print_json
    from monitor.sinks.status_socket import inquire

    fault = None
    try:
        places = _places(config)
    except ConfigError as error:
        # Whoever broke the file asks all the more how the monitor is doing.
        fault, places = error, _places_of_defaults(config)
    told = inquire(places)
    if fault is not None:
        if not told["running"]:
            raise fault
        print_error(str(fault))
    if as_json:
        print_json(told)
    else:
        print_vital_signs(told)
    return 0 if told["listening"] else 1


def _places(chosen: Path | None) -> list[Path]:
    """Where the socket of the monitor may be, likeliest first."""
    from monitor.commands.configuration import load
    from monitor.sinks.status_socket import is_supported, places_to_ask

    if not is_supported():
        raise UsageError("'status' needs sockets that this system does not have")
    configuration = load(chosen)
    setting = configuration.config.status.socket
    places = places_to_ask(setting, configuration.state_dir, os.environ)
    return _without_service(places, configuration.path)


def _places_of_defaults(chosen: Path | None) -> list[Path]:
    """Where it may be if the file, which cannot be read, does not say otherwise."""
    from monitor.commands.configuration import find_state_dir
    from monitor.sinks.status_socket import places_to_ask

    state_dir = find_state_dir(None, os.environ)
    return _without_service(places_to_ask(None, state_dir, os.environ), chosen)


def _without_service(places: list[Path], path: Path | None) -> list[Path]:
    """Leave out the service where `path` is a configuration that it does not take."""
    from monitor.commands.configuration import SYSTEM_FILE
    from monitor.sinks.status_socket import SERVICE_SOCKET

    if path in (None, SYSTEM_FILE):
        return places
    return [place for place in places if place != SERVICE_SOCKET]


Facts = Mapping[str, Any]


def print_vital_signs(told: Facts) -> None:
    """Print the document of `status` for people."""
    print_line(told["sentence"])
    if "sources" not in told:
        return
    now = _moment(told["time"])
    print_line(
        f"sound-monitor {told['version']}, process {told['pid']}, since "
        f"{local_time(_moment(told['since']))} ({_ago(told['since'], now)}), "
        f"configuration: {told['configuration']}"
    )
    print_line()
    print_table(
        (
            *("SOURCE", "STATE", "LAST SAMPLE", "LISTENED", "24 H", "LOST", "GAPS"),
            *("BACKLOG", "DBFS", "DB(A)", "FLOOR DBFS", "FLOOR DB(A)"),
        ),
        [_source(each, now) for each in told["sources"]],
    )
    print_line()
    for line in _lines(told, now):
        print_line(line)


def _source(each: Facts, now: datetime) -> tuple[str, ...]:
    heard = each["last_sample"]
    return (
        each["name"],
        each["state"],
        "-" if heard is None else f"{_ago(heard, now)} ago",
        share(each["listened"]["share"]),
        share(each["listened_24h"]["share"]),
        duration(each["lost_seconds"]),
        str(each["gaps"]),
        duration(each["backlog_seconds"]),
        _level(each["level_dbfs"]),
        _level(each["laeq_db"]),
        _level(each["noise_floor_dbfs"]),
        _level(each["noise_floor_laeq_db"]),
    )


def _lines(told: Facts, now: datetime) -> Iterator[str]:
    for source in told["sources"]:
        yield from _source_lines(source, now)
    for trouble in told["troubles"]:
        yield _trouble(trouble, "trouble", now)
    latency, factor = told["latency_seconds"], told["real_time_factor"]
    yield (
        f"latency: {_number(latency['p50'], '.2f')} s, 95 % under "
        f"{_number(latency['p95'], '.2f')} s; real-time factor "
        f"{_number(factor, '.3f')}"
    )
    queues = {name: count for name, count in told["queues"].items() if count}
    waiting = ", ".join(f"{name} {count}" for name, count in queues.items())
    yield f"waiting in queues: {waiting or 'nothing'}"
    yield _model(told["model"])
    yield _process(told["process"])
    yield from _outbox(told["outbox"], now)
    disk = told["disk"]
    size = disk["database_bytes"]
    yield (
        f"disk: {_bytes(disk['free_bytes'])} free at {disk['state_dir']}, "
        f"{'no database' if size is None else f'database {_bytes(size)}'}"
    )
    watchdog, reload = told["watchdog"], told["reload"]
    if watchdog is not None:
        yield (
            f"watchdog: put off {duration(watchdog['put_off_seconds_ago'])} ago, ends "
            f"it after {duration(watchdog['limit_seconds'])}"
        )
    if reload is not None:
        when, detail = local_time(_moment(reload["time"])), reload["detail"]
        yield f"reload: {reload['outcome']} at {when}{f': {detail}' if detail else ''}"


def _source_lines(source: Facts, now: datetime) -> Iterator[str]:
    name = source["name"]
    if source["detail"]:
        yield f"{name}: {source['detail']}"
    for reason, loss in source["losses"].items():
        count = loss["gaps"]
        yield (
            f"{name}: lost {duration(loss['seconds'])} in {count} "
            f"gap{'s' * (count != 1)}: {GAP_REASONS.get(reason, reason)}"
        )
    if source["events"]:
        heard = [f"{label} {count}" for label, count in source["events"].items()]
        yield f"{name}: heard {', '.join(heard)}"
    if source["canary"] is not None:
        yield f"{name}: {_canary(source['canary'], now)}"
    for trouble in source["troubles"]:
        yield _trouble(trouble, f"{name}: trouble", now)


def _canary(canary: Facts, now: datetime) -> str:
    when = f"{_ago(canary['time'], now)} ago"
    if not canary["ok"]:
        return f"canary: failed {when}: {canary['detail']}"
    if canary["label"] is None:
        return f"canary: the model computed what it must {when}"
    return f"canary: {canary['label']} came out {when}, score {canary['score']:.2f}"


def _trouble(trouble: Facts, place: str, now: datetime) -> str:
    since = "" if trouble["since"] is None else f" for {_ago(trouble['since'], now)}"
    detail = f": {trouble['detail']}" if trouble["detail"] else ""
    return f"{place}: {trouble['kind']}{since}{detail}"


def _model(model: Facts | None) -> str:
    if model is None:
        return "model: unknown"
    failed = model["failed_compute_device"]
    return (
        f"model: {model['name']}, {len(model['labels'])} labels, on "
        f"{model['compute_device']}"
        f"{f', for {failed} failed' if failed else ''}"
    )


def _process(process: Facts) -> str:
    cpu = process["cpu_share"]
    return (
        f"process: {_bytes(process['rss_bytes'])} memory, "
        f"{_number(cpu and 100 * cpu, '.0f')} % of a core, "
        f"{_number(process['open_files'], '')} open files, {process['threads']} threads"
    )


def _outbox(outbox: Facts | None, now: datetime) -> Iterator[str]:
    if outbox is None:
        yield "alerts: no database, or it cannot be read"
        return
    if not outbox["endpoints"]:
        yield "alerts: no rules"
    for name, facts in outbox["endpoints"].items():
        oldest = facts["oldest_pending"]
        age = "" if oldest is None else f", the oldest for {_ago(oldest, now)}"
        yield f"alerts: {name}: {facts['pending']} waiting{age}, {facts['dead']} dead"


def share(value: float | None) -> str:
    """A share in per cent; 100 % only if nothing is missing."""
    if value is None:
        return "-"
    return "100 %" if value == 1 else f"{int(value * 10_000) / 100:.2f} %"


def _level(value: float | None) -> str:
    return "-" if value is None else level(value, 1)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _bytes(count: int | None) -> str:
    if count is None:
        return "unknown"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.0f} MiB" if count < 2**33 else f"{count / 2**30:.0f} GiB"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _ago(text: str, now: datetime) -> str:
    return duration((now - _moment(text)).total_seconds())
