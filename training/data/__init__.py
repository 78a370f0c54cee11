"""Recordings: which there are, how they are split, and their decoded samples."""
