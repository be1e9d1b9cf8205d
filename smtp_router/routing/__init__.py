"""Floor 2: one message through the loop, and the epochs it is routed by."""
