"""Alerts: which are made of what was heard, and how they reach their endpoints."""
