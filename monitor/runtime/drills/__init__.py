"""Drills: a private monitor on this very machine is broken, and must recover."""
