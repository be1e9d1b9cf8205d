"""Floor 1: what plugins see, and how they are found, loaded and called. The only pluggy import."""
