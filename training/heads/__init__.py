"""Heads that know the background: streams, their targets, and the fit."""
