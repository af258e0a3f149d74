"""The alternatives, on the same broker in the same run: ``python -m benchmarks.peers``."""
