"""The pipeline: clients, rawdeltas, deli, deltas, scriptorium and a database, on real Kafka, live in the terminal.

- `session.py` starts everything, looks on, and ends it; `servers.py` has what is started when nobody names a server
- `setting.py` has a run's own names and the sidecar's config; `recorded.py` feeds recorded documents
- `stored.py` looks into the database, and checks it at the end; `picture.py` makes text of numbers

The writers, the stream and most of what is shown are the demo's (`examples/demo`).
"""
