"""The crash matrix of exactly-once: a read_committed reader finds each copy once, in order, whatever happens.

``python -m tests.chaos.exactly_once --help`` says how to run it. Two sidecars with a copier each, in any language,
copy a topic while records come. Faults from a seed kill, end and freeze processes and brokers. Some of them happen at
a chosen request of a transaction: a proxy between the sidecars and Kafka stops it before the broker has it, while the
broker has it, or before its answer arrives.

| part | |
| --- | --- |
| `faults` | which faults come, from a seed; pure |
| `matrix` | the world, and how each fault is made |
| `reader` | reads the copies all the while, and checks each |
"""
