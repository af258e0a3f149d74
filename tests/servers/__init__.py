"""Real servers for tests and benchmarks: they start within seconds, on loopback, and end with the test."""
