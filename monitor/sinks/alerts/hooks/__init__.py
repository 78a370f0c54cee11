"""Hooks: one file for each way in which an alert can leave the monitor."""
