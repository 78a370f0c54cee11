"""From a network to honest figures and thresholds, on recordings it never heard."""
