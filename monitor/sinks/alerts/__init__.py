"""Alerts: the rules that make them, the outbox, and their way to the endpoints."""
