"""The operator's commands: a client of a sidecar that runs."""
