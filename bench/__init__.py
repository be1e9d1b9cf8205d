"""Benches: what the router costs, measured; `docs/performance.md` says how to run and read them."""
