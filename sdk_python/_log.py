"""Loggers of the SDK: they never raise, and those of a partition name it and its lease on every line."""

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

_logger = logging.getLogger("kafka_sidecar.sdk")


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """Whatever a program's handlers do, such as raise since stderr is closed: what logs goes on."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, or not."""
        with suppress(Exception):
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add nothing, and keep what is given."""
        return msg, kwargs


log = SafeLogger(_logger)


class PartitionLogger(SafeLogger):
    """Prefixes the message for people, and has the same as attributes of the record for machines."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add prefix and attributes."""
        extra = dict(self.extra or {})
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return f"{extra['lambda']} {extra['topic']}/{extra['partition']} [{extra['lease']}] {msg}", kwargs


def logger_for(lambda_name: str, topic: str, partition: int, lease: str) -> PartitionLogger:
    """The logger of one lease. Only the lease's beginning is shown: it is what fences checkpoints."""
    extra = {"lambda": lambda_name, "topic": topic, "partition": partition, "lease": lease[:8]}
    return PartitionLogger(_logger, extra)
