"""From batches to a network that has learned."""
