"""The demo: a sidecar with a broker of its own, a lambda process and sample traffic, live in the terminal.

`sensors.py` is the lambda and the file to read; `demo.yaml` is its config. The rest shows what happens:

- `session.py` starts everything, looks on, and ends it; `sidecar_process.py` and `traffic.py` are what it starts
- `picture.py` makes text of numbers, `events.py` of changes; they start nothing and are tested without anything
"""
