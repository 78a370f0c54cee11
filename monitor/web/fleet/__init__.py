"""The page of a fleet: what the collector has stored of many monitors."""
