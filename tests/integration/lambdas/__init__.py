"""The lambdas of the suite. Each process writes what happens to it into a history file, line by line."""
