"""The pipeline: clients, rawdeltas, deli, deltas, scriptorium and a database, on real Kafka, live in the terminal.

- `session.py` starts everything, watches it, and ends it; `servers.py` starts Kafka and the database if none is named
- `setting.py` has a run's own names and the sidecar's config; `recorded.py` feeds recorded documents
- `stored.py` counts what the database holds, and checks it at the end; `picture.py` makes text of numbers

The writers, the stream and most of what is shown are the demo's (`examples/demo`).
"""
