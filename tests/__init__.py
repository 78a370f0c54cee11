"""A package, so that it goes before the one that dcase_util installs as `tests`."""
