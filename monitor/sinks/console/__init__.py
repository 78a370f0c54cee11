"""What a person at a terminal sees: a live display, or plain lines."""
