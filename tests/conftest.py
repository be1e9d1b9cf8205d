from hypothesis import settings

# How long an example takes is the machine's business; a test that hangs has pytest's own limit.
settings.register_profile("smtp-router", deadline=None)
settings.load_profile("smtp-router")
