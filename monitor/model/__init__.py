"""The stage from samples to scores: the log-mel front end, the network and its file."""
