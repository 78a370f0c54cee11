"""From recordings to batches of log-mel: augmentation, mixtures, backgrounds."""
