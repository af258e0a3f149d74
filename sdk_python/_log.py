"""Loggers of the SDK. They never raise, and a partition's logger names the partition and its lease in every line."""

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from ._place import Place

_logger = logging.getLogger("kafka_sidecar.sdk")


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs without raising, whatever the handlers of a program do: they may raise because stderr is closed."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, and ignore what a handler raises."""
        with suppress(Exception):
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Keep the message and the arguments as they are."""
        return msg, kwargs


log = SafeLogger(_logger)


class PartitionLogger(SafeLogger):
    """Prefixes the message for people, and adds the same as attributes of the log record for machines."""

    def __init__(self, logger: logging.Logger, extra: dict[str, Any], place: Place) -> None:
        super().__init__(logger, extra)
        self.place = place

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the prefix and the attributes."""
        extra = dict(self.extra or {})
        # `plain` is for a format in which the attributes are told besides, such as JSON.
        kwargs["extra"] = {"plain": msg, **extra, **(kwargs.get("extra") or {})}
        return f"{extra['lambda']} {self.place} [{extra['lease']}] {msg}", kwargs


def logger_for(lambda_name: str, place: Place, lease: str) -> PartitionLogger:
    """Make the logger of one lease. It shows only the beginning of the lease: all of it allows to checkpoint."""
    extra: dict[str, Any] = {"lambda": lambda_name, "topic": place.topic, "partition": place.partition}
    if place.lanes > 1:
        extra["lane"] = place.lane
    return PartitionLogger(_logger, {**extra, "lease": lease[:8]}, place)
