"""A daemon that listens to microphones and detects sounds as they happen."""

__version__ = "0.1.0"
