"""The tests' programs in Python."""
