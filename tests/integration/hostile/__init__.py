"""The programs of the tests of hostile clients: a lambda that counts, and a client that breaks every rule."""
