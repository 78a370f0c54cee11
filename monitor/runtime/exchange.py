"""The exchange: a monitor that runs goes on with the parts of a plan."""

import threading
from collections.abc import Mapping
from dataclasses import replace

import torch

from monitor.audio.feed import Feed
from monitor.config.config import SourceSettings
from monitor.errors import SourceError
from monitor.runtime.assembly import Ear, build_ear, build_health, build_lineup
from monitor.runtime.reload_plan import Plan
from monitor.runtime.screen import change_screen
from monitor.runtime.station import Sinks, Station, open_event_log
from monitor.runtime.threads import Threads

END_SECONDS = 5.0
"""Time in which the captures of sources that are opened anew must have ended."""

POLL_SECONDS = 0.1


def exchange(station: Station, plan: Plan, threads: Threads) -> bool:
    """Go on with `plan`.  Runs on the thread of the reload; waits for the worker.

    Returns:
        False if the monitor was stopped meanwhile.
    """
    ears = station.monitor.ears
    leaving = [name for name in ears if _leaves(name, plan)]
    late = station.monitor.end_captures(leaving, END_SECONDS)
    if late:
        # Who hangs there would go on writing the timeline of its source.
        raise SourceError(f"{', '.join(late)} did not end within {END_SECONDS:.0f} s")
    if station.telling is not None:
        station.telling.let_go(plan.orders)
    after = {
        settings.name: _ear(settings.name, station, plan)
        for settings in plan.config.sources
    }
    done = threading.Event()

    def change() -> None:
        _change(station, plan, after)
        done.set()

    station.monitor.worker.ask(change)
    while not done.wait(POLL_SECONDS):
        if threads.stop.is_set():
            return False
    station.monitor.start_captures(plan.sources, threads)
    if station.telling is not None:
        station.telling.start()
    return True


def _leaves(name: str, plan: Plan) -> bool:
    """Whether the capture of a source, as it is, has to end."""
    return name in plan.sources or name in plan.difference.sources.removed


def _ear(name: str, station: Station, plan: Plan) -> Ear:
    """A source as it is from now on: the same feed, or another one."""
    settings = next(each for each in plan.config.sources if each.name == name)
    before = station.monitor.ears.get(name)
    source = plan.sources.get(name)
    rate = plan.engine.classifier.spec.sample_rate
    if source is None:
        assert before is not None, "a source that is not opened was there before"
        return _kept(before, settings, rate)
    start, since = _place(name, station, plan)
    feed = Feed(name, rate, plan.config.ring_seconds, start)
    feed.wakeup = station.monitor.worker.wakeup
    site = station.site
    if not source.live:
        since = None
    ear = build_ear(settings, source, feed, site.clock, site.speed, missing_since=since)
    if ear.sample_clock is not None and since is not None:
        ear.sample_clock.anchor([(start, since)])
    return ear


def _kept(before: Ear, settings: SourceSettings, rate: int) -> Ear:
    if before.feed.sample_rate == rate:
        return replace(before, settings=settings)
    # A recording that is over, and a model with another rate: it stays over.
    feed = Feed(before.feed.name, rate, 1.0)
    feed.state("ended", "it is over")
    return replace(before, settings=settings, feed=feed)


def _place(name: str, station: Station, plan: Plan) -> tuple[int, float | None]:
    """Index of the first sample of a source, and since when it has not been heard.

    In one session no index stands for two moments.
    """
    spec = plan.engine.classifier.spec
    is_same_rate = spec.sample_rate == station.engine.classifier.spec.sample_rate
    before = station.monitor.ears.get(name)
    if before is None:
        # A window further: nobody may take it for the sound that followed.
        stop = station.ended.get(name, -spec.window_samples)
        return (stop + spec.window_samples if is_same_rate else 0), None
    stop = before.feed.stop
    if before.sample_clock is None:
        return (stop + spec.window_samples if is_same_rate else 0), None
    since = before.sample_clock.monotonic(stop)
    return (stop if is_same_rate else 0), since


def _change(station: Station, plan: Plan, ears: Mapping[str, Ear]) -> None:
    """Exchange the parts.  Runs on the worker's thread, between two steps."""
    site, worker, sinks = station.site, station.monitor.worker, station.sinks
    new_sinks = Sinks(
        sinks.screen,
        sinks.summary,
        sinks.store,
        sinks.event_log,
        plan.companions,
    )
    if plan.config.event_log.path != station.config.event_log.path:
        new_sinks.event_log = open_event_log(plan.config, site)
    engine = plan.engine
    health = build_health(
        plan.config, engine.classifier, engine.session.session, site.desk
    )
    lineup = build_lineup(ears, plan.pipeline, new_sinks.all, engine.digest, health)
    if station.telling is not None:
        # Nobody would carry the alerts of what ends now.
        station.telling.keep(plan.orders)
    worker.conclude(lineup)
    _change_sinks(station, plan, new_sinks)
    _adjust(station, plan, ears)
    newcomers = [
        companion.sink
        for name, companion in plan.companions.items()
        if sinks.companions.get(name) is not companion
    ]
    worker.adopt(lineup, newcomers)
    worker.reopen_sinks()
    _remember(station, plan, ears, new_sinks)


def _change_sinks(station: Station, plan: Plan, sinks: Sinks) -> None:
    config, log = plan.config, plan.config.event_log
    if sinks.store is not None:
        sinks.store.change(config.store, plan.engine.session)
    if station.telling is not None:
        station.telling.change(plan.orders)
    change_screen(sinks.screen, config, plan.engine.classifier)
    if sinks.event_log is not None:
        sinks.event_log.change(rotate_mib=log.rotate_mib, keep=log.keep)


def _adjust(station: Station, plan: Plan, ears: Mapping[str, Ear]) -> None:
    """Change what can be changed while a source goes on."""
    for ear in ears.values():
        ear.capture.stall_seconds = ear.settings.stall_seconds
        ear.feed.keep(plan.config.ring_seconds)
    if plan.config.model.threads != station.config.model.threads:
        torch.set_num_threads(plan.config.model.threads)
    station.site.past.follow(ear.feed for ear in ears.values())


def _remember(
    station: Station, plan: Plan, ears: Mapping[str, Ear], sinks: Sinks
) -> None:
    before, after = station.engine.classifier.spec, plan.engine.classifier.spec
    if before.sample_rate != after.sample_rate:
        station.ended.clear()
    for name in plan.difference.sources.removed:
        station.ended[name] = station.monitor.ears[name].feed.stop
    station.config = plan.config
    station.engine = plan.engine
    station.sinks = sinks
    station.monitor.ears = ears
