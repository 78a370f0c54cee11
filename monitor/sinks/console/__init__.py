"""The console: a live display on a terminal, plain lines elsewhere."""
