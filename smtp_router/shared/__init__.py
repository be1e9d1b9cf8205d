"""Floor 0: what the workers of one machine count together, in memory that all of them have."""
