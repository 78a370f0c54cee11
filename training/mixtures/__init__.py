"""From recordings to batches: augmentation, mixtures, backgrounds, log-mel."""
