"""From scores to events: smoothing, thresholds and hysteresis."""
