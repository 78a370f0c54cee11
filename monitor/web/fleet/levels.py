"""Levels of a monitor by hour, from the rows of scores that it has published."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import log10
from typing import TYPE_CHECKING

from monitor.errors import StoreError
from monitor.sinks.store.level_figures import LEAST_COVERAGE
from monitor.web.fleet.queries import Row

if TYPE_CHECKING:
    from monitor.sinks.store.scores import ScoreRow

HOUR_SECONDS = 3600.0


def score_row(row: Row) -> "ScoreRow":
    """Make a row of `scores` of the monitor's database of one of the fleet's."""
    from monitor.sinks.store.scores import ScoreRow

    return ScoreRow(
        session=row["session"],
        source=row["source"],
        start=row["started"],
        end=row["ended"],
        start_sample=row["start_sample"],
        window_samples=row["window_samples"],
        hop_samples=row["hop_samples"],
        frame_count=row["frames"],
        format=row["format"],
        data=row["data"],
    )


def hourly_levels(
    rows: Iterable[Row],
) -> Mapping[str, Sequence[tuple[int, float | None]]]:
    """Return by source the LAeq of each hour of the place, in the unit of its monitor.

    None: less than `LEAST_COVERAGE` of the hour was measured.  Damaged rows are left
    out.
    """
    import numpy as np

    hours: dict[str, dict[datetime, list[float]]] = {}
    """By source and hour: energy, and seconds that were measured."""

    for row in rows:
        try:
            levels = score_row(row).arrays().levels[:, 2]
        except StoreError:
            continue
        measured = levels[np.isfinite(levels)]
        hour = row["started"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        seconds = row["hop_samples"] / row["sample_rate"]
        sums = hours.setdefault(row["source"], {}).setdefault(hour, [0.0, 0.0])
        sums[0] += float(np.sum(10 ** (measured / 10))) * seconds
        sums[1] += len(measured) * seconds
    return {
        source: [(hour.astimezone().hour, _level(*sums[hour])) for hour in sorted(sums)]
        for source, sums in sorted(hours.items())
    }


def _level(energy: float, seconds: float) -> float | None:
    if energy <= 0 or seconds < LEAST_COVERAGE * HOUR_SECONDS:
        return None
    return 10 * log10(energy / seconds)
