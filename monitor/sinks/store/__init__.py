"""The store: events, gaps, scores and alerts in an SQLite database."""
