"""How the monitor is doing, as JSON that other programs read: schema 1.

The form in which a monitor tells how it is doing, also if it says nothing.
"""

import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from monitor import __version__
from monitor.records import EVERY_SOURCE
from monitor.sinks.status_snapshot import EndpointFacts, Reload, Snapshot
from monitor.statistics import (
    CanaryResult,
    Listened,
    ModelStatistics,
    SourceStatistics,
    Statistics,
    Trouble,
)
from monitor.text import without_secrets

SCHEMA = 1

Document = dict[str, Any]


def silence(sentence: str, *, running: bool | None, pid: int | None = None) -> Document:
    """What there is to say of a monitor that says nothing itself.

    Args:
        sentence: For people.
        running: Whether there is a process; None: that is unknown.
        pid: Of the process.
    """
    return {
        "schema": SCHEMA,
        "running": running,
        "listening": False,
        "sentence": sentence,
        "pid": pid,
    }


_NOTHING = Statistics((), math.nan, math.nan, math.nan)


def document(it: Snapshot) -> Document:
    """Put a snapshot into schema 1.

    Times are UTC in ISO 8601 with milliseconds; what is not known, or is not a number,
    is null.  Secrets, users in URLs and queries of URLs are left out.
    """
    statistics = it.statistics or _NOTHING
    return {
        "schema": SCHEMA,
        "running": True,
        "listening": it.is_listening,
        "sentence": it.sentence,
        "pid": it.daemon.pid,
        "version": __version__,
        "time": _utc(it.utc),
        "since": _utc(it.daemon.began),
        "configuration": it.daemon.configuration,
        "statistics_age_seconds": _rounded(it.age_seconds, 1),
        "sources": _sources(statistics, it.deaf),
        "latency_seconds": {
            "p50": _rounded(statistics.latency_seconds_p50, 3),
            "p95": _rounded(statistics.latency_seconds_p95, 3),
        },
        "real_time_factor": _rounded(statistics.real_time_factor, 4),
        "queues": dict(statistics.queues),
        "troubles": [
            _trouble(each)
            for each in statistics.troubles
            if each.source == EVERY_SOURCE
        ],
        "model": None if statistics.model is None else _model(statistics.model, it),
        "process": {
            "rss_bytes": it.process.rss_bytes,
            "open_files": it.process.open_files,
            "threads": it.process.threads,
            "cpu_share": _rounded(it.process.cpu_share, 4),
        },
        "outbox": None if it.outbox is None else _outbox(it.outbox),
        "disk": {
            "state_dir": str(it.disk.state_dir),
            "free_bytes": it.disk.free_bytes,
            "database_bytes": it.disk.database_bytes,
        },
        "watchdog": _watchdog(it),
        "reload": None if it.daemon.reload is None else _reload(it.daemon.reload),
    }


def _sources(statistics: Statistics, deaf: Collection[str]) -> list[Document]:
    if statistics.model is None:
        return []
    rate = statistics.model.sample_rate
    return [
        {
            "name": each.source,
            "state": each.state,
            "detail": without_secrets(each.detail),
            "listening": each.source not in deaf,
            **_sound(each, rate),
            "canary": next(
                (_canary(it) for it in statistics.canary if it.source == each.source),
                None,
            ),
            "troubles": [
                _trouble(trouble)
                for trouble in statistics.troubles
                if trouble.source == each.source
            ],
        }
        for each in statistics.sources
    ]


def _sound(each: SourceStatistics, rate: int) -> Document:
    """What came from a source, and what did not."""
    return {
        "last_sample": _utc(each.last_sample),
        "listened": _listened(each.listened),
        "listened_24h": _listened(each.listened_day),
        "captured_seconds": _rounded(each.captured_samples / rate, 3),
        "lost_samples": each.lost_samples,
        "lost_seconds": _rounded(each.lost_samples / rate, 3),
        "gaps": each.gaps,
        "losses": {
            loss.reason: {
                "gaps": loss.gaps,
                "samples": loss.samples,
                "seconds": _rounded(loss.samples / rate, 3),
            }
            for loss in each.losses
        },
        "backlog_seconds": _rounded(each.backlog_samples / rate, 3),
        "level_dbfs": _rounded(each.level.dbfs, 1),
        "laeq_db": _rounded(each.level.laeq_db, 1),
        "noise_floor_dbfs": _rounded(each.noise_floor.dbfs, 1),
        "noise_floor_laeq_db": _rounded(each.noise_floor.laeq_db, 1),
        "events": dict(each.events),
    }


def _listened(listened: Listened) -> Document:
    return {
        "share": _rounded(listened.share, 6),
        "of_seconds": _rounded(listened.seconds, 1),
    }


def _canary(result: CanaryResult) -> Document:
    """How the newest trial with a known sound ended."""
    return {
        "time": _utc(result.at),
        "ok": result.ok,
        "detail": without_secrets(result.detail),
        "label": result.label,
        "score": _rounded(result.score, 4),
        "seconds": _rounded(result.seconds, 1),
    }


def _trouble(trouble: Trouble) -> Document:
    return {
        "kind": trouble.kind,
        "since": _utc(trouble.since),
        "detail": without_secrets(trouble.detail),
    }


def _model(model: ModelStatistics, it: Snapshot) -> Document:
    return {
        "name": model.name,
        "labels": list(model.labels),
        "compute_device": model.compute_device,
        "configured_compute_device": it.premises.compute_device,
        "failed_compute_device": model.failed_compute_device,
    }


def _outbox(endpoints: Iterable[EndpointFacts]) -> Document:
    found = list(endpoints)
    waiting = [each.oldest_pending for each in found if each.oldest_pending is not None]
    return {
        "pending": sum(each.pending for each in found),
        "dead": sum(each.dead for each in found),
        "oldest_pending": _utc(min(waiting, default=None)),
        "endpoints": {
            each.endpoint: {
                "pending": each.pending,
                "dead": each.dead,
                "oldest_pending": _utc(each.oldest_pending),
            }
            for each in found
        },
    }


def _watchdog(it: Snapshot) -> Document | None:
    watchdog = it.daemon.watchdog
    if watchdog is None:
        return None
    return {
        "limit_seconds": watchdog.limit_seconds,
        "put_off_seconds_ago": _rounded(it.monotonic - watchdog.put_off, 1),
    }


def _reload(reload: Reload) -> Document:
    return {
        "time": _utc(reload.at),
        "outcome": "taken" if reload.is_taken else "refused",
        "detail": without_secrets(reload.detail),
    }


def _utc(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _rounded(value: float | None, digits: int) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0
