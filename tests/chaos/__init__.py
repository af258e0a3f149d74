"""Chaos: one Kafka, several sidecars and lambda processes, steady traffic, faults from a seed, and a checker.

``python -m tests.chaos --help`` says how to run it. The pure parts are `schedule` (the planned faults), `facts` (the
observations), `checker` and `commit_checks` (the invariants) and `offsets` (Kafka's own format for commits). The
other parts do I/O.
"""
