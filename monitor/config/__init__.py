"""The configuration: its settings, and the reading of config.yaml."""
