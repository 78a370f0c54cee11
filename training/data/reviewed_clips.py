"""A data set of the clips that people have reviewed, written as `train` takes it.

Clips of right events are those of their label, clips of wrong ones negatives.  Events
that lie within minutes of each other are one incident, whose clips are never split, and
the folds are of whole days: a test hears no sound of a day that was trained on.
"""

import csv
import re
import shlex
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from monitor.errors import DatasetError, UsageError
from monitor.records import Occurrence, Timed
from monitor.sinks.clip_files import event_of, stored_clips
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import Review
from monitor.text import counted, name_problem, table_text, utc_text

_APART = timedelta(minutes=10)
"""Events that are closer are one incident."""
_LONGEST = timedelta(hours=6)
"""An incident ends after this time: in a loud street they would never end."""
_AROUND = timedelta(seconds=5)
"""A clip may hold as much of the sound beside its event."""
_MOST_FOLDS = 5
_COLUMNS = ("path", "label", "fold", "group")
_FACTS = (
    *("event", "source", "start", "reported", "verdict", "label", "day", "fold"),
    *("group", "path", "left_out"),
)


@dataclass(slots=True)
class _Reviewed:
    """A reviewed event, and what becomes of it."""

    timed: Timed
    event: Occurrence
    review: Review
    clip: Path | None
    group: str = ""
    """Its incident: the local time of the first event of it, as digits."""
    fold: int = 0
    """0: all events are of one day, and there are no folds."""
    path: str = ""
    left_out: str = ""

    @property
    def label(self) -> str | None:
        """What sounded; None: not the label of the event, and nothing else is known."""
        verdict = self.review.verdict
        return self.event.label if verdict == "right" else self.review.label

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The time of the event, UTC."""
        start, end = self.timed.start_utc, self.timed.end_utc
        assert start is not None
        assert end is not None
        return start, end


@dataclass(frozen=True, slots=True)
class ReviewedSet:
    """What was written."""

    folder: Path
    labels: dict[str, int]
    """Clips of each label."""
    negatives: int
    incidents: int
    days: int
    folds: int
    """0: the clips are of one day."""
    left_out: dict[str, int]
    """Reviewed events without a clip in the data set, by reason."""

    def lines(self) -> Iterator[str]:
        """Describe it, and the command that trains."""
        clips = sum(self.labels.values())
        named = ", ".join(f"{name} {count}" for name, count in self.labels.items())
        yield (
            f"{self.folder}: {counted(clips, 'clip')} of "
            f"{counted(len(self.labels), 'label')} ({named or 'none'}) and "
            f"{counted(self.negatives, 'negative')}, of "
            f"{counted(self.incidents, 'incident')} on {counted(self.days, 'day')}"
        )
        for reason, count in self.left_out.items():
            yield f"left out: {counted(count, 'reviewed event')}: {reason}"
        if not self.folds:
            yield (
                "All are of one day, and there are no folds: a test would hear the day "
                "that was trained on.  Review events of several days."
            )
        if clips:
            words = ["sound-monitor", "train", f"{self.folder}/clips.csv"]
            if self.negatives:
                words += ["--negatives", f"{self.folder}/negatives"]
            yield "train with"
            yield f"  {shlex.join(words)}"


def write_reviewed(
    folder: Path,
    database: Path,
    clips: Path,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ReviewedSet:
    """Write the reviewed clips of a time range into a new folder.

    It gets clips.csv as `train` takes it, a folder for each label in `clips`, the
    negatives in `negatives`, and reviews.csv with every reviewed event, also those
    whose clips are missing.

    Args:
        folder: To be written; it is new or empty.
        database: Of the monitor.
        clips: Its folder of clips.
        since: Start of the range, UTC.
        until: End of it.

    Raises:
        UsageError: There is something in the folder, or it cannot be written.
        StoreError: The database is not there, or cannot be read.
        DatasetError: No reviewed event has a clip.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: there is something already; name a new folder")
    with open_to_read(database) as reader:
        reviews = reader.verdicts()
        events = [
            (timed, timed.record)
            for timed in reader.events(since, until)
            if timed.start_utc is not None
            and timed.end_utc is not None
            and isinstance(timed.record, Occurrence)
        ]
    kept = {event_of(each.sound): each.sound for each in stored_clips(clips)}
    reviewed = [
        _Reviewed(timed, event, reviews[event.id], kept.get(event.id))
        for timed, event in events
        if event.id in reviews
    ]
    _leave_out(reviewed, [timed for timed, _ in events])
    used = [each for each in reviewed if not each.left_out]
    if not used:
        reasons = Counter(each.left_out for each in reviewed)
        why = ", ".join(f"{count}: {reason}" for reason, count in reasons.items())
        raise DatasetError(
            f"no reviewed event has a clip to train on ({why or 'none is reviewed'}); "
            "clips are kept with privacy: clips, and those of locked events stay"
        )
    _group(reviewed)
    folds = _deal(used)
    try:
        _write(folder, reviewed, used, folds)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from None
    labels = Counter(each.label for each in used if each.label is not None)
    return ReviewedSet(
        folder,
        dict(sorted(labels.items())),
        sum(each.label is None for each in used),
        len({each.group for each in used}),
        len({_day(each) for each in used}),
        folds,
        dict(Counter(each.left_out for each in reviewed if each.left_out)),
    )


def _leave_out(reviewed: Sequence[_Reviewed], events: Sequence[Timed]) -> None:
    """Find the events without a clip, and negatives that may hold something else."""
    rejected = {each.event.id for each in reviewed if each.label is None}
    others = sorted(
        (timed.start_utc, timed.end_utc, timed.record.source)
        for timed in events
        if isinstance(timed.record, Occurrence) and timed.record.id not in rejected
    )
    for each in reviewed:
        start, end = each.span
        if each.clip is None:
            each.left_out = "no clip is kept"
        elif each.label is not None and name_problem(each.label) is not None:
            each.left_out = "its label cannot be a name"
        elif each.label is None and any(
            source == each.event.source
            and first is not None
            and last is not None
            and first < end + _AROUND
            and last > start - _AROUND
            for first, last, source in others
        ):
            each.left_out = "wrong, but beside an event that may be right"


def _group(reviewed: Sequence[_Reviewed]) -> None:
    """Name the incident of each event; sounds near several microphones are one."""
    begin: datetime | None = None
    ends: datetime | None = None
    name = ""
    for each in sorted(reviewed, key=lambda it: it.span):
        start, end = each.span
        if (
            begin is None
            or ends is None
            or start > min(ends + _APART, begin + _LONGEST)
        ):
            begin, ends = start, end
            name = f"{start.astimezone():%Y%m%d%H%M%S}"
        ends = max(ends, end)
        each.group = name


def _day(each: _Reviewed) -> str:
    """The day on which its incident began, in the zone of this machine."""
    return each.group[:8]


def _deal(used: Sequence[_Reviewed]) -> int:
    """Deal whole days to folds, so that each has clips of all labels if there are."""
    days: dict[str, list[_Reviewed]] = defaultdict(list)
    for each in used:
        days[_day(each)].append(each)
    count = min(_MOST_FOLDS, len(days))
    if count < 2:
        return 0
    load: list[Counter[str | None]] = [Counter() for _ in range(count)]
    for day in sorted(days, key=lambda it: (-len(days[it]), it)):
        own = Counter(each.label for each in days[day])
        fold = min(
            range(count),
            key=lambda it: (sum(load[it][label] for label in own), load[it].total()),
        )
        load[fold] += own
        for each in days[day]:
            each.fold = fold + 1
    return count


def _write(
    folder: Path, reviewed: Sequence[_Reviewed], used: Sequence[_Reviewed], folds: int
) -> None:
    """Copy the clips, and write the tables beside them, for their owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = _folders(each.label for each in used)
    for number, each in enumerate(used, start=1):
        assert each.clip is not None
        if each.label is None:
            # As in ESC-50, whose names `train` reads: fold-recording-take.
            names = f"{each.group}-A-{number}.flac"
            place = Path("negatives", f"{each.fold}-{names}" if each.fold else names)
        else:
            place = Path("clips", folders[each.label], each.clip.name)
        (folder / place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy2(each.clip, folder / place)
        each.path = place.as_posix()
    columns = _COLUMNS if folds else [name for name in _COLUMNS if name != "fold"]
    rows = [_facts(each) for each in reviewed]
    positives = [row for row in rows if row["path"].startswith("clips/")]
    _write_table(folder / "clips.csv", columns, positives)
    shown = [{key: table_text(text) for key, text in row.items()} for row in rows]
    _write_table(folder / "reviews.csv", _FACTS, shown)


def _folders(labels: Iterable[str | None]) -> dict[str, str]:
    """A folder for each label: a label can be any text."""
    found: dict[str, str] = {}
    for label in sorted({label for label in labels if label is not None}):
        name = re.sub(r"[^\w-]+", "-", label).strip("-") or "label"
        taken = {each.casefold() for each in found.values()}
        found[label] = name if name.casefold() not in taken else f"{name}-{len(found)}"
    return found


def _facts(each: _Reviewed) -> Mapping[str, str]:
    return {
        "event": each.event.id,
        "source": each.event.source,
        "start": utc_text(each.timed.start_utc) or "",
        "reported": each.event.label,
        "verdict": each.review.verdict or "",
        "label": each.label or "",
        "day": _day(each),
        "fold": str(each.fold or ""),
        "group": each.group,
        "path": each.path,
        "left_out": each.left_out,
    }


def _write_table(
    path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    path.chmod(0o600)
