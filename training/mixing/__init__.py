"""From clips to batches of windows: placed, mixed, bedded and changed."""
