"""The records of a monitor, published for a fleet's collector."""
