"""The reload: another configuration while the monitor runs.

A reload replaces, it does not mutate.  Everything behind the captures is built and
checked beside the monitor that runs; a configuration that is impossible is rejected as
a whole.  Then the worker ends the open events, closes the sinks, and goes on with the
new parts, in one step.  The captures and timelines of unchanged sources go on.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.errors import (
    ConfigError,
    SoundMonitorError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from monitor.records import HealthState
from monitor.runtime.app import (
    App,
    Environment,
    LoadedModels,
    Plan,
    connect,
    load_chosen,
    open_sinks,
    parts_of,
    plan_app,
)
from monitor.runtime.health import HealthReport
from monitor.runtime.loading import choose_models, load_models
from monitor.runtime.supervisor import Supervisor
from monitor.runtime.threads import RunningThread
from monitor.sinks.alerts.secrets import digest_of_contents
from monitor.sinks.sink import Sink
from monitor.sinks.status_snapshot import Reload

logger = logging.getLogger(__name__)

THREAD = "reload"
END_SECONDS = 5.0
"""Longest time for the captures of reopened sources to end."""

WRITE_SECONDS = 1.0
"""Longest time for records that are being written."""

POLL_SECONDS = 0.1

AGAIN_SECONDS = 10.0
"""Pause before a reload that could not open the database is tried again."""


class FreshConfig(NamedTuple):
    """The configuration, read again."""

    config: Config
    state_dir: Path
    """Folder for the files that the monitor writes."""

    placed: Callable[[str], str] = str
    """Puts file and line before sentences about settings."""

    digest: str = ""
    """Of the text that was read; see `DaemonFacts`."""

    overrides: str = ""
    """The overrides that are in it, for people; see `DaemonFacts`."""

    unfit_overrides: tuple[str, ...] = ()
    """Those that are left out, for people."""

    bundle_fault: str = ""
    """Why the bundle is left out, for people; see `DaemonFacts`."""


Reread = Callable[[], FreshConfig]
"""Reads the configuration again."""


class Reloader:
    """Reloads when it is asked to, on a thread of its own.

    Requests during a reload are served by one more after it.  Used by the main thread.
    """

    def __init__(
        self, app: App, reread: Reread, supervisor: Supervisor, done: Callable[[], None]
    ) -> None:
        """Prepare for the first one; its thread calls `done` at its end."""
        self._app = app
        self._reread = reread
        self._supervisor = supervisor
        self._done = done
        self._is_asked = False
        self._again_at: float | None = None
        self._running: RunningThread | None = None
        self._contents = self._digest(app.plan.config)

    def ask(self) -> None:
        """Reload now, or after the reload that is going on."""
        self._is_asked = True
        self.look()

    def look(self) -> None:
        """Report the end of a reload, and begin the next.  Call several times a second.

        Never waits.
        """
        if self._running is not None and not self._running.is_alive:
            self._running = None
            self._supervisor.reloaded(self._remark)
        again_at = self._again_at
        self._is_asked |= again_at is not None and time.monotonic() >= again_at
        if self._is_asked and self._running is None:
            self._is_asked, self._again_at = False, None
            self._supervisor.reloading()
            self._running = self._app.threads.start(THREAD, self._run)

    @property
    def _remark(self) -> str:
        latest = self._app.environment.facts.reload
        is_rejected = latest is not None and not latest.is_taken
        return "the new configuration was rejected, see the log" if is_rejected else ""

    def _run(self, stop: threading.Event) -> None:
        placed: Callable[[str], str] = str
        try:
            fresh = self._reread()
            config, state_dir, placed, *_ = fresh
            contents = self._digest(config)
            is_same = self._is_same(config, state_dir, contents)
            plan = None if is_same else prepare(self._app, config, state_dir)
        except ConfigError as error:
            self._reject(placed(str(error)))
        except SoundMonitorError as error:
            self._reject(str(error))
        else:
            if plan is None:
                self._reopen()
                self._accept("nothing changed", fresh)
            elif stop.is_set():
                plan.close()
            else:
                self._swap(plan, contents, fresh)
        self._done()

    def _digest(self, config: Config) -> str:
        return digest_of_contents(config.model_dump(), self._app.environment.environ)

    def _is_same(self, config: Config, state_dir: Path, contents: str) -> bool:
        app = self._app
        return (
            (config, state_dir) == (app.plan.config, app.environment.state_dir)
            and contents == self._contents
            and choose_models(config, state_dir).digest() == app.plan.models.digest
        )

    def _swap(self, plan: Plan, contents: str, fresh: FreshConfig) -> None:
        """Swap between two steps of the worker, and wait for it."""
        app, before = self._app, self._app.plan
        leaving = app.sources.keys() - plan.continued(app.sources)
        late = app.end_captures(leaving, END_SECONDS)
        if late:
            # A capture that hangs would go on writing to its timeline.
            raise SourceError(f"{', '.join(late)} did not end in {END_SECONDS:.0f} s")
        swapped = threading.Event()
        failures: list[StoreError] = []

        def swap() -> None:
            failures.extend(_replace(app, plan, leaving))
            swapped.set()

        app.worker.ask(swap)
        while not swapped.wait(POLL_SECONDS):
            if app.threads.stop.is_set():
                return
        app.start_captures(plan.opened)
        if plan.alerting is not None:
            plan.alerting.start(app.senders, before.alerting)
        reports = app.environment.reports
        if not self._contents:
            reports.post(HealthReport("disk", "cleared", "the database is open again"))
        # After a failure the next reload opens it anew.
        self._contents = "" if failures else contents
        for failure in failures:
            # Without its database the monitor sends no alerts: status, metrics and
            # console must not look well.
            reports.post(HealthReport("disk", "raised", f"not stored: {failure}"))
            self._note(str(failure), is_taken=False)
            logger.error(
                "nothing is stored; tried again in %d s: %s", AGAIN_SECONDS, failure
            )
            self._again_at = time.monotonic() + AGAIN_SECONDS
        if not failures:
            self._accept(describe(before, plan), fresh)
        # Free the parts that were replaced, and spare the collector the new ones, as
        # at the start: frozen objects are not freed for as long as the process lives.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _reject(self, sentence: str) -> None:
        # logrotate sends the same signal.
        self._reopen()
        self._note(sentence, is_taken=False)
        logger.error(
            "the configuration was not reloaded, and the one before goes on: %s",
            sentence,
        )

    def _accept(self, sentence: str, fresh: FreshConfig) -> None:
        facts = self._app.environment.facts
        facts.configuration_digest = fresh.digest
        facts.overrides = fresh.overrides
        facts.unfit_overrides = fresh.unfit_overrides
        facts.bundle_fault = fresh.bundle_fault
        report_overrides(self._app.environment)
        self._note(sentence, is_taken=True)
        logger.info("configuration reloaded: %s", sentence)
        for each in fresh.unfit_overrides:
            logger.warning("%s", each)

    def _reopen(self) -> None:
        self._app.worker.ask(self._app.worker.reopen_sinks)

    def _note(self, detail: str, *, is_taken: bool) -> None:
        facts = self._app.environment.facts
        facts.reload = Reload(datetime.now(UTC), is_taken, detail)


def report_overrides(environment: Environment) -> None:
    """Report to the health records whether overrides are left out."""
    detail = "; ".join(environment.facts.unfit_overrides)
    state: HealthState = "raised" if detail else "cleared"
    environment.reports.post(HealthReport("overrides", state, detail, renews=True))


def prepare(app: App, config: Config, state_dir: Path) -> Plan:
    """Build and check everything that `config` asks for.  Slow; on any thread.

    Raises:
        SoundMonitorError: It is impossible; nothing that runs was touched.
    """
    _reject_fixed(app, config, state_dir)
    check_written(app)
    return plan_app(
        config, app.environment, _models(app, config, state_dir), app.sources
    )


def check_written(app: App) -> None:
    """Check that a reload would lose nothing that waits in memory.  Any thread.

    Raises:
        StoreUnavailableError: It would, and the state of the rules with it.
    """
    store, pending = app.sinks.store, _pending_records(app)
    if pending or (store is not None and store.is_failing):
        raise StoreUnavailableError(
            "the database or the event log cannot be written, or its disk is almost "
            f"full, and {pending} records wait in memory: reload again once it can"
        )


def _pending_records(app: App) -> int:
    """Number of records that cannot be written, after what is being written now."""
    until = time.monotonic() + WRITE_SECONDS
    while (pending := app.sinks.pending_records) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return pending


def _reject_fixed(app: App, config: Config, state_dir: Path) -> None:
    """Reject another place of the outbox: its pending alerts would stay behind."""
    fixed = {
        "state_dir": (app.environment.state_dir, state_dir),
        "store.path": (app.plan.config.store.path, config.store.path),
    }
    for key, (before, after) in fixed.items():
        if before != after:
            old, new = ("null" if it is None else it for it in (before, after))
            raise ConfigError(
                f"{key}: {new} instead of {old}: it cannot change while the monitor "
                "runs; restart it"
            )


def _models(app: App, config: Config, state_dir: Path) -> LoadedModels:
    """Return the models in use if they stay, else load the others."""
    before, chosen = app.plan.models, choose_models(config, state_dir)
    wanted, settings = config.model, app.plan.config.model
    is_same = chosen.digest() == before.digest
    if not is_same:
        return load_chosen(config, chosen, cpu_fallback=False)
    if wanted == settings.model_copy(update={"file": wanted.file}):
        return replace(before, chosen=chosen)
    return replace(before, chosen=chosen, models=load_models(wanted, chosen))


def _replace(app: App, plan: Plan, leaving: Collection[str]) -> list[StoreError]:
    """Replace all parts.  Runs on the worker's thread, between two steps.

    Returns:
        Why the database could not be opened again; the rest goes on without it.
    """
    failures: list[StoreError] = []

    def open_all() -> Sequence[Sink]:
        try:
            app.sinks = open_sinks(plan, app.environment, app.sinks)
        except StoreError as error:
            # The monitor still listens, and shows what it detects.
            failures.append(error)
            app.sinks = open_sinks(replace(plan, alerting=None), app.environment)
        return app.sinks.all

    sources = connect(plan, app.sources, app.ended)
    app.worker.replace(parts_of(plan, sources), open_all)
    if plan.models.session != app.plan.models.session:
        app.ended.clear()
    else:
        stops = {name: app.sources[name].input.timeline.stop for name in leaving}
        app.ended.update(stops)
    app.plan, app.sources = plan, sources
    return failures


def describe(before: Plan, after: Plan) -> str:
    """Describe the changes from one plan to the other, for people."""
    phrases = differences(before.config, after.config)
    old, new = before.models.chosen.taught, after.models.chosen.taught
    if before.models.file_digests != after.models.file_digests:
        phrases.append(f"another model: {after.models.models.name}")
    again = [it for it in new if it in old and new[it].digest != old[it].digest]
    phrases += _phrase("taught again", again)
    return "; ".join(phrases) or "renewed: a file or secret of the configuration"


_APART = frozenset({"sources", "alerts", "detection"})
"""Sections that are compared in detail, or do not concern the daemon."""


def differences(before: Config, after: Config) -> list[str]:
    """List the changes of `after` in phrases such as "sources added: yard"."""
    old, new = before.detection, after.detection
    labels = {**old.labels, **new.labels}
    thresholds = [it for it in labels if old.labels.get(it) != new.labels.get(it)]
    settings = [
        *(f"detection.{key}" for key in _changed_keys(old, new) if key != "labels"),
        *(key for key in _changed_keys(before, after) if key not in _APART),
    ]
    return [
        *_named_differences("sources", before.sources, after.sources),
        *_named_differences("rules", before.alerts, after.alerts),
        *_phrase("thresholds changed", thresholds),
        *_phrase("settings changed", settings),
    ]


def _named_differences(
    kind: str, before: Sequence[Any], after: Sequence[Any]
) -> list[str]:
    old = {entry.name: entry for entry in before}
    new = {entry.name: entry for entry in after}
    changed = [name for name in new if name in old and new[name] != old[name]]
    return [
        *_phrase(f"{kind} added", [name for name in new if name not in old]),
        *_phrase(f"{kind} removed", [name for name in old if name not in new]),
        *_phrase(f"{kind} changed", changed),
    ]


def _changed_keys(before: Settings, after: Settings) -> list[str]:
    keys = type(before).model_fields
    return [key for key in keys if getattr(before, key) != getattr(after, key)]


def _phrase(kind: str, names: Sequence[str]) -> list[str]:
    return [f"{kind}: {', '.join(names)}"] if names else []
