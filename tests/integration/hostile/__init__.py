"""What the tests of hostile clients run: a lambda that counts, and a client that does everything wrong."""
