"""The lambdas of the integration tests. Each process writes its events into a history file, one line each."""
