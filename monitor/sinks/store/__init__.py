"""The store: what was heard, kept in a SQLite database."""
