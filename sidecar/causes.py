"""The causes for which a lambda or a partition does not move, as stable words.

A problem of `sidecar/status.py` carries one on its way to operators, and an explanation names one for each finding.
Scripts and dashboards compare them: a word never changes its meaning.
"""

from enum import StrEnum


class Cause(StrEnum):
    """Why something stands still, or that it does not. A cause stands before those that may follow from it: equally
    urgent ones are told in this order."""

    # --- the sidecar and Kafka: they concern whole lambdas
    SIDECAR_FAULT = "sidecar-fault"
    SIDECAR_ENDS = "sidecar-ends"
    CONNECTING = "connecting"
    KAFKA_AWAY = "kafka-away"
    WRONG_CREDENTIALS = "wrong-credentials"
    TLS_FAILED = "tls-failed"
    HOST_UNKNOWN = "host-unknown"
    BROKER_AWAY = "broker-away"
    CLIENT_FAILED = "client-failed"
    GROUP_REFUSED = "group-refused"
    NOT_AUTHORISED = "not-authorised"
    TOPIC_MISSING = "topic-missing"
    TOPIC_REFUSED = "topic-refused"
    COMMIT_REFUSED = "commit-refused"
    TRANSACTIONS_REFUSED = "transactions-refused"
    REBALANCING = "rebalancing"
    NO_PARTITIONS = "no-partitions"
    NO_LEADER = "no-leader"
    # --- lambda processes
    PROCESS_ENDS = "process-ends"
    NO_PROCESS = "no-process"
    NO_SPARE_STREAM = "no-spare-stream"
    # --- one partition
    HALTED = "halted"
    UNDELIVERABLE = "undeliverable"
    DEAD_LETTER_FAILED = "dead-letter-failed"
    DEAD_LETTER_WAITS = "dead-letter-waits"
    OFFSET_LOST = "offset-lost"
    WINDOW_FULL = "window-full"
    HANDLER_BLOCKS = "handler-blocks"
    NO_CHECKPOINT = "no-checkpoint"
    DEADLINE = "deadline"
    BACKING_OFF = "backing-off"
    PAUSED_BY_OPERATOR = "paused-by-operator"
    PAUSED_BY_LAMBDA = "paused-by-lambda"
    DRAINING = "draining"
    RESOLVING = "resolving"
    STARTING = "starting"
    CORRUPT_DOCUMENTS = "corrupt-documents"
    BEHIND = "behind"
    NOTHING_TO_DO = "nothing-to-do"
    # --- what a client does not know
    OTHER = "other"
