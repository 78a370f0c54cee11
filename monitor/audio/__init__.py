"""From sound to samples: sources, resampling, the ring and levels."""
