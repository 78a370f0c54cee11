"""What the database needs now and then: old rows deleted, space kept in reserve."""

from monitor.config.config import StoreSettings
from monitor.errors import StoreUnavailableError
from monitor.sinks.store.ports import Clock
from monitor.sinks.store.reserve import Room
from monitor.sinks.store.retention import Retention
from monitor.sinks.store.rows import to_ms
from monitor.sinks.store.writer import Writer

PATIENCE_SECONDS = 0.1
"""How long another writer is waited for: this can be done later."""

EVERY_SECONDS = 600.0
SOON_SECONDS = 1.0


class Upkeep:
    """Looks after the database every ten minutes, while there is more to do sooner."""

    def __init__(
        self, writer: Writer, settings: StoreSettings, room: Room, clock: Clock
    ) -> None:
        self._writer = writer
        self._retention = Retention(settings)
        self._room = room
        self._clock = clock
        self._due = clock.monotonic()

    def change(self, settings: StoreSettings) -> None:
        """Keep as much as other settings say, beginning soon."""
        self._retention = Retention(settings)
        self._due = self._clock.monotonic()

    def do_some(self) -> None:
        """Do a little if it is time; trouble is left to the next commit to tell."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY_SECONDS
        now_ms = to_ms(self._clock.utc())
        try:
            is_more = self._writer.write(
                lambda connection, _: self._retention.bite(connection, now_ms),
                synced=False,
                patience_seconds=PATIENCE_SECONDS,
            )
            if self._room.look():
                self._writer.reserve()
        except StoreUnavailableError:
            return
        if is_more:
            self._due = now + SOON_SECONDS
