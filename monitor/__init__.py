"""A daemon that listens to a microphone and tells which sounds it hears."""

__version__ = "0.1.0"
