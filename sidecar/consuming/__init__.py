"""The consumer thread: it owns a lambda's Consumer and everything that calls it."""
