"""Loggers that name the lambda, the partition and the lease on every line."""

import logging
from collections.abc import MutableMapping
from typing import Any

log = logging.getLogger("kafka_sidecar.sdk")


class PartitionLogger(logging.LoggerAdapter[logging.Logger]):
    """Prefixes the message for people, and has the same as attributes of the record for machines."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add prefix and attributes."""
        extra = dict(self.extra or {})
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return f"{extra['lambda']} {extra['topic']}/{extra['partition']} [{extra['lease']}] {msg}", kwargs


def logger_for(lambda_name: str, topic: str, partition: int, lease: str) -> PartitionLogger:
    """The logger of one lease. Only the lease's beginning is shown: it is what fences checkpoints."""
    extra = {"lambda": lambda_name, "topic": topic, "partition": partition, "lease": lease[:8]}
    return PartitionLogger(log, extra)
