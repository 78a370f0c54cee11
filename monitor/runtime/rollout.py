"""The roll out: takes signed bundles, tries them, and rolls back what worsens health.

A bundle is verified, installed beside the one that runs, checked by a child process,
and becomes the one that runs by a reload.  Then it is on trial.  The state is on the
disk, so that a trial goes on, or is ended, after a restart.
"""

import logging
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from monitor.config.rollout import RolloutSettings
from monitor.errors import SoundMonitorError
from monitor.records import HealthKind, HealthState
from monitor.runtime.bundle_check import Check
from monitor.runtime.bundle_download import Download, Fetched
from monitor.runtime.bundle_file import Bundle, BundleError, read_bundle
from monitor.runtime.health import HealthReport, HealthReports
from monitor.runtime.rollout_state import BundleFolder, Offered, RolloutState
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_snapshot import DaemonFacts
from monitor.statistics import Statistics
from monitor.text import redact_url

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
CLOSE_SECONDS = 0.1
FIRST_SECONDS = 30.0
"""Longest time from the start to the first look for a bundle."""

JITTER = 0.1
RELOAD_AGAIN_SECONDS = 60.0

CAUSED: frozenset[HealthKind] = frozenset(
    {"canary", "compute-device", "deaf", "overload"}
)
"""Problems that a bundle can cause.  The others are of the microphone, the disk or the
place: they would roll back bundles that nothing is wrong with."""


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """The parts of the running monitor that the roll out uses."""

    monitor: str
    """The id of this monitor, by which it is in the share of a bundle or not."""

    folder: BundleFolder
    facts: DaemonFacts
    reports: HealthReports
    reload: Callable[[], object]
    """Asks for a reload.  Raises SoundMonitorError: it cannot be asked for now."""

    check: Check
    now: Callable[[], float]
    """Monotonic seconds."""


class Rollout(Sink):
    """Looks for bundles, and watches the one that is on trial.

    A reload makes another one of these, which goes on with the state on the disk.
    """

    def __init__(self, settings: RolloutSettings, context: RolloutContext) -> None:
        """Read the state; nothing is fetched or started."""
        self._settings = settings
        self._context = context
        self._download = Download(settings, context.folder.path)
        self._thread = BackgroundThread("rollout", self._run)
        self._latest: Statistics | None = None
        try:
            before = context.folder.read()
        except OSError as error:
            logger.error("bundles are forgotten: %s", error)
            before = RolloutState()
        self._state = before.trusted(settings.public_keys)
        self._is_written = self._state == before
        self._loaded = self._digest
        """The bundle that the parts of this monitor were made with."""

        self._asked_at: float | None = None
        """Time at which a reload was asked for; None: none is waited for."""

        self._reload_before = context.facts.reload
        self._watched_since: float | None = None
        first = min(settings.every_seconds, FIRST_SECONDS)
        self._due = context.now() + random.uniform(0, first)  # noqa: S311
        """Time of the next look for a bundle."""

        self._health: HealthReport
        self._fault = self._refused = self._waiting = ""
        self._unfit = ("", "")
        """Digest and problems of the bundle that was checked in vain."""

        self._show()

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self._latest = statistics
        self._thread.keep_running()

    def close(self) -> None:
        """End without waiting for a download."""
        self._thread.finish(CLOSE_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_SECONDS):
            self.step(stop)

    def step(self, stop: threading.Event) -> None:
        """Do what is due: look for a bundle, await a reload, or watch a trial."""
        every, now = self._settings.every_seconds, self._context.now()
        if self._fault != self._context.facts.bundle_fault:
            self._show()
        # Again and again: a reload with another model clears every problem.
        self._context.reports.post(self._health)
        try:
            if not self._is_written:
                self._change(self._state)
            if self._loaded != self._digest:
                self._await_reload(now)
            elif self._state.trial is not None:
                self._watch(now)
            elif now >= self._due:
                self._due = now + every * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
                self._look(stop)
        except OSError as error:  # the disk: tried again
            self._due = now + every
            self._refuse(f"{self._context.folder.path}: {error.strerror}")

    def _look(self, stop: threading.Event) -> None:
        """Fetch the bundle, and take it if it is new, valid and for this monitor."""
        fetched: Fetched | None = None
        waiting = self._waiting
        try:
            fetched = self._download.fetch(stop)
            waiting = self._download.failure or waiting
            if fetched is not None and not stop.is_set():
                waiting = self._take(fetched, stop)
                self._refuse("")
        except BundleError as error:
            waiting = ""
            self._refuse(f"the bundle of {self._place} is refused: {error}")
        finally:
            if fetched is not None:
                fetched.discard()
            if waiting != self._waiting:
                self._waiting = waiting
                if waiting and waiting != self._download.failure:  # that is logged
                    logger.info("%s", waiting)
                self._show()

    def _take(self, fetched: Fetched, stop: threading.Event) -> str:
        """Verify a bundle, and put it on trial; return why it waits, maybe empty.

        Raises:
            BundleError: It must not be used.
        """
        bundle = read_bundle(fetched.path, self._settings.public_keys)
        version, digest = bundle.manifest.version, bundle.digest
        offered = Offered(version=version, digest=digest, keys=(bundle.key,))
        self._check_version(offered)
        if (state := self._state.with_newest(offered)) != self._state:
            self._change(state)
        is_known = digest == self._digest or state.why_bad(offered) is not None
        if is_known or not bundle.manifest.is_for(self._context.monitor):
            self._download.confirm(fetched)
            offer = f"bundle {version} is offered, not to this monitor yet"
            return "" if is_known else offer
        if digest != self._unfit[0] and self._can_reload:
            self._try(fetched, bundle, offered, stop)
        if digest == self._unfit[0]:
            # It is tried again after a restart or a reload: the configuration may be
            # what is wrong.
            raise BundleError(f"bundle {version} does not fit here: {self._unfit[1]}")
        return ""

    def _check_version(self, offered: Offered) -> None:
        newest = self._state.newest
        if newest is None:
            return
        if offered.version < newest.version:
            raise BundleError(
                f"its version is {offered.version}, and {newest.version} was seen"
            )
        if offered.version == newest.version and offered.digest != newest.digest:
            raise BundleError(f"it is another one with version {offered.version}")

    def _try(
        self, fetched: Fetched, bundle: Bundle, offered: Offered, stop: threading.Event
    ) -> None:
        """Install a bundle, and begin its trial if it fits here."""
        self._context.folder.install(fetched.path, bundle)
        problems = self._context.check(offered.version, stop)
        if stop.is_set():
            return
        if problems:
            self._unfit = (offered.digest, problems)
            self._context.folder.write(self._state)  # removes it
            return
        self._unfit = ("", "")
        self._change(self._state.with_trial(offered, self._troubles() or ()))
        logger.info("bundle %d is on trial", offered.version)

    @property
    def _digest(self) -> str:
        """The bundle that is to be used; empty: none."""
        return self._state.running.digest if self._state.running is not None else ""

    @property
    def _can_reload(self) -> bool:
        """Whether a reload is not too early, nor would be rejected for the disk."""
        latest = self._latest
        if latest is None or latest.model is None:
            return False
        return not any(it.kind == "disk" for it in latest.troubles)

    @property
    def _place(self) -> str:
        url = self._settings.url or ""
        return url if self._settings.path else redact_url(url)

    def _await_reload(self, now: float) -> None:
        """Have the monitor reload, and see what comes of it."""
        context = self._context
        latest = context.facts.reload
        if self._asked_at is None or now >= self._asked_at + RELOAD_AGAIN_SECONDS:
            self._reload_before, self._asked_at = latest, now
            with suppress(SoundMonitorError):  # it starts or ends
                context.reload()
        elif latest is not None and latest is not self._reload_before:
            self._reload_before = latest
            if latest.is_taken:
                # Nothing changed, or this would have been closed.
                self._loaded, self._asked_at = self._digest, None
            elif self._state.trial is not None:
                self._roll_back(f"it cannot be loaded: {latest.detail}")

    def _watch(self, now: float) -> None:
        """End the trial if health has worsened, or if it has lasted long enough."""
        assert self._state.trial is not None
        assert self._state.running is not None
        troubles = self._troubles()
        if troubles is None:
            return
        if self._watched_since is None:
            self._watched_since = now
        if fault := self._context.facts.bundle_fault:
            self._roll_back(fault)
        elif worse := sorted(troubles.keys() - {*self._state.trial.troubles}):
            self._roll_back(f"while it was on trial: {worse[0]}: {troubles[worse[0]]}")
        elif now >= self._watched_since + self._settings.watch_seconds:
            self._change(self._state.kept())
            version = self._state.running.version
            logger.info("bundle %d has passed its trial", version)

    def _troubles(self) -> dict[str, str] | None:
        """Details of the problems that count, by SOURCE/KIND; None: unknown yet."""
        if self._latest is None or self._latest.model is None:
            return None
        return {
            f"{it.source}/{it.kind}": it.detail
            for it in self._latest.troubles
            if it.kind in CAUSED
        }

    def _roll_back(self, why: str) -> None:
        assert self._state.running is not None
        bad = self._state.running.version
        self._change(self._state.rolled_back(why))
        self._asked_at = self._watched_since = None
        logger.error("bundle %d is rolled back: %s", bad, why)

    def _change(self, state: RolloutState) -> None:
        # First the disk: the reload that follows reads what is there.
        self._context.folder.write(state)
        self._state, self._is_written = state, True
        self._show()

    def _refuse(self, sentence: str) -> None:
        """Say why a bundle is not taken; empty: it could be."""
        if sentence != self._refused:
            self._refused = sentence
            if sentence:
                logger.error("%s", sentence)
            self._show()

    def _show(self) -> None:
        """Show the state in the status document, and as health from the next step."""
        state, facts = self._state, self._context.facts
        self._fault = facts.bundle_fault
        refused = self._fault or self._refused
        running = None if self._fault else state.running
        facts.rollout = {
            "bundle": None if running is None else str(running.version),
            "on_trial": state.trial is not None,
            "newest": None if state.newest is None else state.newest.version,
            "bad": [it.model_dump(exclude={"digest"}) for it in state.bad],
            "refused": refused or None,
            "waiting": self._waiting or None,
        }
        detail = refused or state.rolled_back_newest
        state_of_health: HealthState = "raised" if detail else "cleared"
        self._health = HealthReport("rollout", state_of_health, detail, renews=True)
