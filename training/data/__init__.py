"""Recordings: manifest, splits, and decoded samples."""
