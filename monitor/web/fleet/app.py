"""The web application of a fleet."""

from monitor.web.app import WebApp
from monitor.web.fleet import pages
from monitor.web.fleet.context import FleetContext
from monitor.web.pages import access

NAVIGATION = (
    ("monitors", "/"),
    ("events", "/events"),
    ("day", "/day"),
    ("system", "/system"),
)


def build_fleet_app(context: FleetContext) -> WebApp:
    """Build the application of a fleet's database.

    Raises:
        UsageError: A file of passwords is damaged.
    """
    return WebApp(
        context, [*pages.routes(context), *access.routes(context)], NAVIGATION
    )
