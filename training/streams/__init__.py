"""Streams with annotated events, and the event-based metrics of the monitor on them."""
