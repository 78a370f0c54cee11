"""Learning from a teacher: its targets, initial weights, head and linear probe."""
