"""How good a network is on recordings it has not been trained on, and thresholds."""
