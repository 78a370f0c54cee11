"""Where records go: console, event log."""
