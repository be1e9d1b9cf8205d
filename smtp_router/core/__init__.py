"""Floor 0: values and decisions. No I/O, no clock, no randomness, no logging, no third party."""
