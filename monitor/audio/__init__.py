"""Audio: sources, capture, conditioning, the timeline, levels and signal health."""
