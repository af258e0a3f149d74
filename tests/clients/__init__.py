"""Programs that are clients of the sidecar, in each language: what the tests and benchmarks start."""
