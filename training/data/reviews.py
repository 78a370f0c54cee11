"""The reviews of a database, by event."""

from datetime import datetime

from monitor.records import Occurrence
from monitor.sinks.store.event_pages import EventFilters
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.reviews import Review

_PAGE = 1000


def read_reviews(reader: Reader, until: datetime | None) -> dict[str, Review]:
    """Read the reviews with a verdict of all events before a time, by their ids."""
    found: dict[str, Review] = {}
    before = None
    while True:
        filters = EventFilters(until=until, reviewed=True)
        page = reader.events_page(filters, before_key=before, limit=_PAGE)
        for each in page.events:
            record = each.timed.record
            if each.review is not None and isinstance(record, Occurrence):
                found[record.id] = each.review
        if not page.has_more:
            return found
        before = page.oldest
