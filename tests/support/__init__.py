"""Helpers of the tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Where the project lies that is tested."""
