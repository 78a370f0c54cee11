"""Hours with events at known times, and what the whole monitor tells of them."""
