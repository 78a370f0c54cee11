"""The status document: a snapshot as JSON of schema 1, which other programs read.

Keys may be added; none changes its meaning.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from monitor import __version__
from monitor.records import EVERY_SOURCE
from monitor.sinks.status_snapshot import EndpointFacts, Snapshot
from monitor.statistics import Listened, SourceStatistics, Statistics, Trouble
from monitor.text import utc_text, without_secrets

SCHEMA = 1

Document = dict[str, Any]


def document(it: Snapshot) -> Document:
    """Write a snapshot as schema 1.

    Times are UTC in ISO 8601 with milliseconds; what is unknown, or not a number, is
    null.  Secrets, users in URLs and queries of URLs are left out.
    """
    statistics = it.statistics or Statistics((), math.nan, math.nan, math.nan)
    watchdog, reload, model = it.daemon.watchdog, it.daemon.reload, statistics.model
    return {
        "schema": SCHEMA,
        "running": True,
        "listening": it.is_listening,
        "sentence": it.sentence,
        "pid": it.daemon.pid,
        "version": __version__,
        "time": utc_text(it.utc),
        "since": utc_text(it.daemon.began),
        "configuration": it.daemon.configuration,
        "statistics_age_seconds": _number(it.age_seconds, 1),
        "sources": _sources(statistics, it.not_listening),
        "latency_seconds": {
            "p50": _number(statistics.latency_seconds_p50, 3),
            "p95": _number(statistics.latency_seconds_p95, 3),
        },
        "real_time_factor": _number(statistics.real_time_factor, 4),
        "queues": dict(statistics.queues),
        "troubles": _troubles(statistics.troubles, EVERY_SOURCE),
        "model": model
        and {
            "name": model.name,
            "labels": list(model.labels),
            "compute_device": model.compute_device,
            "configured_compute_device": it.settings.compute_device,
            "failed_compute_device": model.failed_compute_device,
        },
        "process": {
            "rss_bytes": it.rss_bytes,
            "open_files": it.open_files,
            "threads": it.threads,
            "cpu_share": _number(it.cpu_share, 4),
        },
        "outbox": None if it.outbox is None else _alerts(it.outbox),
        "disk": {
            "state_dir": str(it.settings.state_dir),
            "free_bytes": it.free_bytes,
            "database_bytes": it.database_bytes,
        },
        "watchdog": watchdog
        and {
            "limit_seconds": watchdog.limit_seconds,
            "put_off_seconds_ago": _number(it.monotonic - watchdog.put_off, 1),
        },
        "reload": reload
        and {
            "time": utc_text(reload.at),
            "outcome": "taken" if reload.is_taken else "refused",
            "detail": without_secrets(reload.detail),
        },
    }


def _sources(statistics: Statistics, not_listening: Sequence[str]) -> list[Document]:
    if statistics.model is None:
        return []
    rate = statistics.model.sample_rate
    canary = {
        each.source: {
            "time": utc_text(each.at),
            "ok": each.ok,
            "detail": without_secrets(each.detail),
            "label": each.label,
            "score": _number(each.score, 4),
            "seconds": _number(each.seconds, 1),
        }
        for each in statistics.canary
    }
    return [
        {
            "name": each.source,
            "state": each.state,
            "detail": without_secrets(each.detail),
            "listening": each.source not in not_listening,
            **_sound(each, rate),
            "canary": canary.get(each.source),
            "troubles": _troubles(statistics.troubles, each.source),
        }
        for each in statistics.sources
    ]


def _sound(each: SourceStatistics, rate: int) -> Document:
    """Amounts and levels of what a source delivered."""
    return {
        "last_sample": utc_text(each.last_sample),
        "listened": _listened(each.listened),
        "listened_24h": _listened(each.listened_day),
        "captured_seconds": _number(each.captured_samples / rate, 3),
        "lost_samples": each.lost_samples,
        "lost_seconds": _number(each.lost_samples / rate, 3),
        "gaps": each.gaps,
        "losses": {
            loss.reason: {
                "gaps": loss.gaps,
                "samples": loss.samples,
                "seconds": _number(loss.samples / rate, 3),
            }
            for loss in each.losses
        },
        "backlog_seconds": _number(each.backlog_samples / rate, 3),
        "level_dbfs": _number(each.level.dbfs, 1),
        "laeq_db": _number(each.level.laeq_db, 1),
        "noise_floor_dbfs": _number(each.noise_floor.dbfs, 1),
        "noise_floor_laeq_db": _number(each.noise_floor.laeq_db, 1),
        "events": dict(each.events),
    }


def _listened(listened: Listened) -> Document:
    return {
        "share": _number(listened.share, 6),
        "of_seconds": _number(listened.seconds, 1),
    }


def _troubles(troubles: Iterable[Trouble], source: str) -> list[Document]:
    return [
        {
            "kind": each.kind,
            "since": utc_text(each.since),
            "detail": without_secrets(each.detail),
        }
        for each in troubles
        if each.source == source
    ]


def _alerts(endpoints: Sequence[EndpointFacts]) -> Document:
    oldest = [each.oldest_pending for each in endpoints if each.oldest_pending]
    return {
        "pending": sum(each.pending for each in endpoints),
        "dead": sum(each.dead for each in endpoints),
        "oldest_pending": utc_text(min(oldest, default=None)),
        "endpoints": {
            each.endpoint: {
                "pending": each.pending,
                "dead": each.dead,
                "oldest_pending": utc_text(each.oldest_pending),
            }
            for each in endpoints
        },
    }


def _number(value: float | None, digits: int) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0
