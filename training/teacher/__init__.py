"""What a larger network makes of the same windows, for a student to learn."""
