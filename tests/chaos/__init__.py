"""Chaos: one Kafka, several sidecars and lambda processes, steady traffic, faults from a seed, and a checker.

``python -m tests.chaos --help`` says how to run it. The pure parts are `schedule` (what is done when), `facts` (what
was seen), `checker` and `commit_checks` (what must hold) and `offsets` (Kafka's own format for commits). The others
touch the world.
"""
