"""The analysis of one recording of an archive, as each worker of any engine does it."""

import errno
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import fsspec
import soundfile

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import SoundMonitorError, shortage
from monitor.fleet.archive.inputs import ArchiveInput
from monitor.fleet.archive.manifest import Entry
from monitor.fleet.archive.recording_time import TimeRules, recorder_of, recording_time
from monitor.fleet.archive.tables import RecordingTables
from monitor.runtime.loading import ChosenModels, choose_models, load_models
from monitor.runtime.offline import analyze_into
from monitor.text import first_line, path_text, printable, utc_text

PROGRESS_SECONDS = 0.5

_OF_THE_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that no recording has: only the results are written."""

Progress = Callable[[float], None]
"""Called with the share of the recording that has been analysed."""


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """What all workers of a run have in common; it is sent to other machines."""

    config: Config
    state_dir: Path
    out: Path
    """Absolute folder of the archive."""

    times: TimeRules
    source: str | None = None
    """Name in all records; None: that of the recorder."""

    site: str | None = None
    keeps_scores: bool = True

    def chosen(self) -> ChosenModels:
        """Choose the models; recordings are of no source of the configuration."""
        recording = SourceSettings(name="recording", input="file:of that name")
        config = self.config.model_copy(update={"sources": (recording,)})
        return choose_models(config, self.state_dir)

    @property
    def digest(self) -> str:
        """Identify all settings that change results."""
        config = self.config.model_dump(
            mode="json", include={"detection", "labels", "level", "health"}
        )
        device = (self.config.model.engine, self.config.model.compute_device)
        rest = (self.times.pattern, self.times.zone, self.source, self.site)
        facts = [config, self.offsets_db, device, rest, self.keeps_scores]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def offsets_db(self) -> dict[str, float]:
        """`level_offset_db` of the sources of the configuration that have one."""
        offsets = {each.name: each.level_offset_db for each in self.config.sources}
        return {name: offset for name, offset in offsets.items() if offset}


@dataclass(frozen=True, slots=True)
class Task:
    """A recording that a worker is to analyse."""

    input: ArchiveInput
    entry: Entry
    """What is known before: its identity, and the name of its output."""


def task_of(each: ArchiveInput, model: str, settings: str) -> Task:
    """Make the task of a recording; its output is named by its identity."""
    entry = Entry(each.name, each.size, each.version, model, settings, "failed")
    digest = hashlib.sha256(json.dumps(entry.identity).encode()).hexdigest()
    return Task(each, replace(entry, output=digest[:32]))


class Analyzer:
    """Holds the models, and analyses one recording after the other."""

    def __init__(self, settings: ArchiveSettings, model: str) -> None:
        """Load the models, which must be those of the program that gives the tasks.

        Raises:
            SoundMonitorError: They cannot be used, or are others.
        """
        self._settings = settings
        self._chosen = settings.chosen()
        if self._chosen.digest() != model:
            raise SoundMonitorError(
                f"the worker on {socket.gethostname()} has another model, or other "
                "labels: install the same version and files there"
            )
        if not settings.out.is_dir():
            raise SoundMonitorError(
                f"--out: the worker on {socket.gethostname()} does not see "
                f"{printable(str(settings.out))}: all machines need it at one path"
            )
        self._models = load_models(settings.config.model, self._chosen)

    def analyze(self, task: Task, progress: Progress) -> Entry:
        """Analyse a recording; whatever is wrong with it is in the entry.

        Raises:
            SoundMonitorError: The results cannot be written, nor can those of others.
        """
        path = self._path(task)
        try:
            with self._fetched(task, path):
                return self._analyze(task, path, progress)
        except SoundMonitorError as error:
            sentence = _named(task, path, str(error))
        except Exception as error:  # noqa: BLE001 - is of this recording alone
            if isinstance(error, OSError) and error.errno in _OF_THE_OUTPUT:
                raise SoundMonitorError(
                    f"--out: {printable(str(self._settings.out))}: "
                    f"{os.strerror(error.errno)}; the same command again goes on from "
                    "here"
                ) from None
            reason = shortage(error) or f"{type(error).__name__}: {first_line(error)}"
            sentence = f"{task.input.name}: {_named(task, path, reason)}"
        return replace(task.entry, output=None, error=sentence)

    def _path(self, task: Task) -> Path:
        """Return the file of a recording or, of a URL, the place for a copy.

        By the name of the output: the next try writes over what a kill leaves.
        """
        if not task.input.is_url:
            return Path(task.input.location)
        suffix = PurePosixPath(task.input.name).suffix
        return self._settings.out / f".{task.entry.output}{suffix}"

    @contextmanager
    def _fetched(self, task: Task, path: Path) -> Iterator[None]:
        if not task.input.is_url:
            yield
            return
        try:
            system, inside = fsspec.core.url_to_fs(task.input.location)
            system.get_file(inside, str(path))
            yield
        finally:
            with suppress(FileNotFoundError):
                path.unlink()

    def _analyze(self, task: Task, path: Path, progress: Progress) -> Entry:
        settings, name = self._settings, task.input.name
        if not path.exists():
            raise SoundMonitorError(f"{name}: it is gone, or its link leads nowhere")
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise SoundMonitorError(f"{name}: it is not a regular file")
        found = recording_time(name, path, settings.times)
        source = settings.source or recorder_of(name)
        assert task.entry.output is not None
        with RecordingTables(
            settings.out,
            task.entry.output,
            {"site": settings.site, "source": source, "file": name},
            None if found is None else found.start,
            self._models.labels,
            keeps_scores=settings.keeps_scores,
            progress=_throttled(progress, path),
        ) as tables:
            failure = analyze_into(
                tables,
                path,
                self._models,
                settings.config,
                source=source,
                session=task.entry.output,
                level_offset_db=settings.offsets_db.get(source, 0.0),
                chosen=self._chosen,
            )
            if not tables.seconds and failure is not None:
                raise failure
        return replace(
            task.entry,
            status="done" if failure is None else "damaged",
            error=None if failure is None else _named(task, path, str(failure)),
            source=source,
            start=None if found is None else utc_text(found.start),
            time_from=None if found is None else found.origin,
            seconds=round(tables.seconds, 3),
            windows_ms=tables.windows_ms,
            events=tables.events,
            sample_rate=self._models.spec.sample_rate,
        )


def _named(task: Task, path: Path, sentence: str) -> str:
    """Name a recording as in the archive: the same on whatever machine."""
    # A command that it advises has to name what is on the disk.
    most = -1 if task.input.is_url else 1
    return sentence.replace(printable(path_text(path)), task.input.name, most)


def _throttled(progress: Progress, path: Path) -> Progress:
    """Call `progress` with a share of the length, now and then."""
    try:
        length = max(soundfile.info(os.fsencode(path)).duration, 1e-3)
    except (soundfile.SoundFileError, OSError):
        return lambda _seconds: None
    newest = time.monotonic()

    def report(seconds: float) -> None:
        nonlocal newest
        if time.monotonic() - newest >= PROGRESS_SECONDS:
            newest = time.monotonic()
            progress(min(1.0, seconds / length))

    return report
