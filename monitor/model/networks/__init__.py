"""The networks that a model file can name."""
