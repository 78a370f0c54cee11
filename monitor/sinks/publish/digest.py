"""The digest of the status of a monitor, as it is published for a fleet."""

from datetime import datetime

from monitor.clock import is_plausible
from monitor.sinks.status_client import Document
from monitor.sinks.status_snapshot import StatusTracker
from monitor.text import utc_text


def digest_of(tracker: StatusTracker, clock: datetime, site: str | None) -> Document:
    """Return the digest of the newest status, but for its `last`.

    Args:
        tracker: Takes a snapshot; not on the worker's thread.
        clock: Time of the machine's clock, UTC.
        site: Place or group of the monitor.
    """
    it = tracker.snapshot()
    troubles = [("*", trouble) for trouble in it["troubles"]]
    for source in it["sources"]:
        troubles += [(source["name"], trouble) for trouble in source["troubles"]]
    return {
        "clock": utc_text(clock),
        "uptime_seconds": round(tracker.uptime_seconds, 1),
        "listening": it["listening"],
        "sources": [
            {
                "name": source["name"],
                "state": source["state"],
                "listening": source["listening"],
                "listened_24h": source["listened_24h"]["share"],
                "laeq_unit": source["laeq_unit"],
            }
            for source in it["sources"]
        ],
        "health": [
            {"source": name, **trouble, "since": _plausible(trouble["since"])}
            for name, trouble in troubles
        ],
        "model": it["model"] and it["model"]["name"],
        "bundle": it["bundle"],
        "rollout": it["rollout"],
        "version": it["version"],
        "site": site,
    }


def _plausible(moment: str | None) -> str | None:
    """Return a time but for one by a clock that was not set yet."""
    is_set = moment and is_plausible(datetime.fromisoformat(moment))
    return moment if is_set else None
