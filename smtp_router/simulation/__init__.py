"""Floor below service: the real router and the real plugins in virtual time, against a modelled world.

Time comes from `loop` and `clock`, randomness from `luck`; nothing here waits, listens or connects.
"""
