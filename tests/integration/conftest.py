"""Fixtures of the integration tests."""

from tests.support.pulse import pulse

__all__ = ["pulse"]
