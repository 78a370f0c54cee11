"""The context of a fleet's page: where its database is."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.errors import StoreError
from monitor.text import first_line
from monitor.web.context import WebContext

if TYPE_CHECKING:
    from monitor.web.fleet.queries import FleetReader


class AwayError(StoreError):
    """The server of the database does not answer."""

    kind = "fleet_away"
    """Key of the sentence in `error`."""


CONNECT_SECONDS = 5
STATEMENT_MS = 10_000
"""Longest time of a query: a viewer waits, and PostgreSQL works, no longer."""


@dataclass(slots=True)
class FleetContext(WebContext):
    """A page that shows the database of a collector and no monitor."""

    fleet: str = ""
    """Where the database is, as libpq takes it: postgresql://HOST/NAME."""

    @contextlib.contextmanager
    def reading_fleet(self) -> Iterator["FleetReader"]:
        """Connect to the database, to read one state of it.

        Raises:
            StoreError: It cannot be read, or no collector has made its tables.
            AwayError: Its server does not answer.
        """
        import psycopg

        from monitor.web.fleet.queries import FleetReader, check_version

        options = (
            f"-c statement_timeout={STATEMENT_MS} -c default_transaction_read_only=on "
            "-c default_transaction_isolation=repeatable\\ read -c jit=off"
        )
        try:
            with psycopg.connect(
                self.fleet, connect_timeout=CONNECT_SECONDS, options=options
            ) as connection:
                check_version(connection)
                yield FleetReader(connection)
        except psycopg.OperationalError as error:
            reason = first_line(error)
            raise AwayError(f"the fleet's database is away: {reason}") from None
        except psycopg.Error as error:
            reason = first_line(error)
            raise StoreError(f"the fleet's database cannot be read: {reason}") from None
