"""The stage from scores to events: smoothing, thresholds and hysteresis."""
