"""Clips: the sound of events, stored only where the configuration asks for it."""
