"""Memory that the sidecar shares with a lambda process, for large frames."""
