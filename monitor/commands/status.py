"""`sound-monitor status`: the status of the running monitor, for people or as JSON."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.commands.configuration_file import (
    SYSTEM_FILE,
    find_file,
    find_state_dir,
    read_file,
    socket_settings,
    text_digest,
)
from monitor.commands.process import print_error, print_json, print_line, print_table
from monitor.errors import ConfigError
from monitor.sinks.status_client import SERVICE_SOCKET, client_paths, query_status
from monitor.text import (
    GAP_REASONS,
    WeightedUnits,
    counted,
    duration,
    level,
    local_time,
    percent,
)

HELP = """Show whether the running monitor is listening, and how it is doing.

The exit code is 0 if the monitor is listening: sound arrives from every
source and is analysed.  It is 1 if a source is not listened to, if the
monitor hangs, or if none is running.

The monitor answers on a private socket, to its own user and to root: for a
service, use sudo.

Examples:
  sound-monitor status
  sudo sound-monitor status --json
"""

DAY_SECONDS = 86_000.0
"""Of less than about a day, `24 H` says how much."""

Facts = Mapping[str, Any]
"""The status document, or an object in it."""


def status(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Print the status of the monitor that runs with this configuration."""
    path, reason = find_file(config)
    setting, folder = socket_settings(path, reason)
    paths = client_paths(setting, find_state_dir(folder, os.environ), os.environ)
    if path not in (None, SYSTEM_FILE):  # the service has another configuration
        paths = [each for each in paths if each != SERVICE_SOCKET]
    document = query_status(paths)
    if path is not None and not _has_read(document, path, reason):
        _report_faults(config, document)
    if as_json:
        print_json(document)
    else:
        print_status(document)
    return 0 if document["listening"] else 1


def _has_read(document: Facts, path: Path, reason: str) -> bool:
    """Return True if the monitor has taken the file as it is now: so it is valid."""
    known = document.get("configuration"), document.get("configuration_digest")
    try:
        return known == (str(path.absolute()), text_digest(read_file(path, reason)))
    except (ConfigError, OSError):
        return False


def _report_faults(chosen: Path | None, document: Facts) -> None:
    """Print the faults of the configuration.

    Raises:
        ConfigError: There are some, and no monitor runs.
    """
    # Takes longer than everything else here.
    from monitor.commands.configuration import load

    try:
        load(chosen)
    except ConfigError as error:
        # After a mistake in the file, the status is needed all the more.
        if not document["running"]:
            raise
        print_error(str(error))


def print_status(status: Facts) -> None:
    """Print a status document for people."""
    print_line(status["sentence"])
    if "sources" not in status:
        return
    try:
        _print_details(status)
    except (AttributeError, LookupError, TypeError, ValueError):
        # Older than this program, which was upgraded and not restarted; or not ours.
        print_line(
            "the monitor is of another version, whose details cannot be shown; restart "
            "it, or use --json"
        )


def _print_details(status: Facts) -> None:
    now = _moment(status["time"])
    print_line(
        f"sound-monitor {status['version']}, process {status['pid']}, since "
        f"{local_time(_moment(status['since']))} ({_ago(status['since'], now)}), "
        f"configuration: {status['configuration']}"
    )
    if status["overrides"] is not None:
        print_line(status["overrides"])
    for line in _rollout(status["rollout"]):
        print_line(line)
    if status["page"] is not None:
        print_line(f"web page: {status['page']}")
    print_line()
    units = WeightedUnits({it["name"]: it["laeq_unit"] for it in status["sources"]})
    cells = [_cells(source, units, now) for source in status["sources"]]
    if cells:  # the worker has reported
        print_table(list(cells[0]), [list(each.values()) for each in cells])
        print_line()
    for line in _lines(status, now):
        print_line(line)


def _rollout(rollout: Facts | None) -> Iterator[str]:
    if rollout is None:
        return
    trial = ", on trial" if rollout["on_trial"] else ""
    yield f"bundle: {rollout['bundle'] or 'none'}{trial}"
    for bad in rollout["bad"][-1:]:
        yield f"bundle {bad['version']} was rolled back: {bad['why']}"
    if rollout["refused"] is not None:
        yield rollout["refused"]
    if rollout.get("waiting") is not None:  # unknown to older monitors
        yield rollout["waiting"]


def _cells(source: Facts, units: WeightedUnits, now: datetime) -> dict[str, str]:
    """Return the cells of a source's row by their column."""
    newest, weighted = source["last_sample"], units.column.upper()
    return {
        "SOURCE": source["name"],
        "STATE": source["state"],
        "LAST SAMPLE": "-" if newest is None else f"{_ago(newest, now)} ago",
        "LISTENED": percent(source["listened"]["share"]),
        "24 H": _share_of_day(source["listened_24h"]),
        "LOST": duration(source["lost_seconds"]),
        "GAPS": str(source["gaps"]),
        "BACKLOG": duration(source["backlog_seconds"]),
        "DBFS": _level(source["level_dbfs"]),
        weighted: _weighted(source, "laeq_db", units),
        "FLOOR DBFS": _level(source["noise_floor_dbfs"]),
        f"FLOOR {weighted}": _weighted(source, "noise_floor_laeq_db", units),
    }


def _share_of_day(listened: Facts) -> str:
    """Return the share of a day, or of the part that is known, which is named then."""
    share, seconds = percent(listened["share"]), listened["of_seconds"]
    is_part = seconds is not None and 0 < seconds < DAY_SECONDS
    return f"{share} of {duration(seconds)}" if is_part else share


def _lines(status: Facts, now: datetime) -> Iterator[str]:
    for source in status["sources"]:
        for line in _source_lines(source, now):
            yield f"{source['name']}: {line}"
    for trouble in status["troubles"]:
        yield _trouble(trouble, now)
    latency, factor = status["latency_seconds"], status["real_time_factor"]
    yield (
        f"latency: {_number(latency['p50'], '.2f')} s, 95 % under "
        f"{_number(latency['p95'], '.2f')} s; real-time factor "
        f"{_number(factor, '.3f')}"
    )
    queues = [f"{name} {count}" for name, count in status["queues"].items() if count]
    yield f"queues: {', '.join(queues) or 'empty'}"
    yield _model(status["model"])
    process, cpu = status["process"], status["process"]["cpu_share"]
    yield (
        f"process: {_bytes(process['rss_bytes'])} memory, "
        f"{_number(cpu and 100 * cpu, '.0f')} % of a core, "
        f"{_number(process['open_files'], '')} open files, {process['threads']} threads"
    )
    yield from _outbox(status["outbox"], now)
    for mute in status["mutes"]:
        remaining = duration((_moment(mute["until"]) - now).total_seconds())
        withheld = counted(mute["withheld"], "alert")
        yield f"alerts: {mute['rule']} is muted for {remaining}; {withheld} withheld"
    if status.get("publishing") is not None:
        yield _publishing(status["publishing"], now)
    if status.get("mqtt") is not None:
        yield _mqtt(status["mqtt"], now)
    disk, size = status["disk"], status["disk"]["database_bytes"]
    yield (
        f"disk: {_bytes(disk['free_bytes'])} free at {disk['state_dir']}, "
        f"{'no database' if size is None else f'database {_bytes(size)}'}"
    )
    watchdog, reload = status["watchdog"], status["reload"]
    if watchdog is not None:
        yield (
            f"watchdog: reset {duration(watchdog['reset_seconds_ago'])} ago; it "
            f"ends the monitor after {duration(watchdog['limit_seconds'])}"
        )
    if reload is not None:
        when, detail = local_time(_moment(reload["time"])), reload["detail"]
        yield f"reload: {reload['outcome']} at {when}{f': {detail}' if detail else ''}"


def _source_lines(source: Facts, now: datetime) -> Iterator[str]:
    if source["detail"]:
        yield source["detail"]
    for reason, loss in source["losses"].items():
        gaps = f" in {counted(loss['gaps'], 'gap')}" if loss["gaps"] else ""
        why = GAP_REASONS.get(reason, reason)
        yield f"lost {duration(loss['seconds'])}{gaps}: {why}"
    if source["events"]:
        events = [f"{label} {count}" for label, count in source["events"].items()]
        yield f"events: {', '.join(events)}"
    if source["canary"] is not None:
        yield _canary(source["canary"], now)
    for trouble in source["troubles"]:
        yield _trouble(trouble, now)


def _canary(canary: Facts, now: datetime) -> str:
    when = f"{_ago(canary['time'], now)} ago"
    if not canary["ok"]:
        return f"self-test: failed {when}: {canary['detail']}"
    if canary["label"] is None:
        return f"self-test: passed {when} (golden vector)"
    return f"self-test: passed {when} ({canary['label']}, score {canary['score']:.2f})"


def _trouble(trouble: Facts, now: datetime) -> str:
    since = "" if trouble["since"] is None else f" for {_ago(trouble['since'], now)}"
    detail = f": {trouble['detail']}" if trouble["detail"] else ""
    return f"trouble: {trouble['kind']}{since}{detail}"


def _model(model: Facts | None) -> str:
    if model is None:
        return "model: unknown"
    failed = model["failed_compute_device"]
    return (
        f"model: {model['name']}, {len(model['labels'])} labels, on "
        f"{model['compute_device']}{f'; {failed} failed' if failed else ''}"
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
        yield f"alerts: {name}: {facts['pending']} pending{age}, {facts['dead']} dead"


def _publishing(facts: Facts, now: datetime) -> str:
    pending = facts["pending"]
    count = "an unknown number" if pending is None else counted(pending, "record")
    problem, since = facts["problem"], facts["problem_since"]
    ago = "" if problem is None else f"; for {_ago(since, now)}: {problem}"
    return f"publishing to {facts['target']}: {count} pending{ago}"


def _mqtt(facts: Facts, now: datetime) -> str:
    if facts["problem"]:
        since = _ago(facts["problem_since"], now)
        return f"mqtt: not connected for {since}: {facts['problem']}"
    connected = "connected" if facts["connected"] else "not connected yet"
    return f"mqtt: {connected} to {facts['target']}"


def _level(value: float | None) -> str:
    return "-" if value is None else level(value, 1)


def _weighted(source: Facts, key: str, units: WeightedUnits) -> str:
    value = source[key]
    return "-" if value is None else units.cell(source["name"], value)


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
