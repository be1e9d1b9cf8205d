"""Floor 0: what outlives this process, in a file of SQLite's."""
