"""How an operator names one partition of one lambda: `LAMBDA/TOPIC/PARTITION`."""

from __future__ import annotations

from typing import NamedTuple

_MAX_PARTITION = 2**31 - 1
_EXAMPLE = "as in deli/rawdeltas/3"


class Target(NamedTuple):
    """One partition of one lambda."""

    lambda_name: str
    """As in the config file."""
    topic: str
    partition: int
    """From 0."""

    def __str__(self) -> str:
        return f"{self.lambda_name}/{self.topic}/{self.partition}"


def parse_target(text: str) -> Target:
    """Parse `LAMBDA/TOPIC/PARTITION`. Neither a lambda's name nor a topic's can contain a slash.

    Raises ``ValueError``, whose text says what is wrong and shows an example.
    """
    parts = text.split("/")
    if len(parts) != 3:
        raise ValueError(f"expected LAMBDA/TOPIC/PARTITION, {_EXAMPLE}, not {text!r}")
    name, topic, partition = parts
    if not name or not topic:
        missing = "lambda's name" if not name else "topic"
        raise ValueError(f"the {missing} is missing in {text!r}: expected LAMBDA/TOPIC/PARTITION, {_EXAMPLE}")
    if not (partition.isascii() and partition.isdecimal() and int(partition) <= _MAX_PARTITION):
        raise ValueError(f"{partition!r} is no partition: expected a number from 0, {_EXAMPLE}")
    return Target(name, topic, int(partition))
