"""Real servers for tests and benchmarks: started in milliseconds to seconds, on loopback, gone with the test."""
