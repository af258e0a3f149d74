"""Dead letters after they were written: read, grouped by cause, exported, replayed and deleted.

`kafka-sidecar dead-letters` is made of this. It runs on an operator's machine and talks to Kafka itself. Modules that
do so say it in their first line; all others are pure.
"""
