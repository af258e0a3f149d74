"""How an operator names one partition of one lambda, or one lane of it: `LAMBDA/TOPIC/PARTITION[.LANE]`."""

from __future__ import annotations

from typing import NamedTuple

_MAX_PARTITION = 2**31 - 1
_EXAMPLE = "as in deli/rawdeltas/3, or deli/rawdeltas/3.0 for its first lane"


class Target(NamedTuple):
    """One partition of one lambda, with all of its lanes, or one lane."""

    lambda_name: str
    """As in the config file."""
    topic: str
    partition: int
    """From 0."""
    lane: int | None = None
    """From 0; None: all lanes."""

    def __str__(self) -> str:
        whole = f"{self.lambda_name}/{self.topic}/{self.partition}"
        return whole if self.lane is None else f"{whole}.{self.lane}"


def parse_target(text: str) -> Target:
    """Parse `LAMBDA/TOPIC/PARTITION[.LANE]`. Neither a lambda's name nor a topic's can contain a slash.

    Raises ``ValueError``, whose text says what is wrong and shows an example.
    """
    parts = text.split("/")
    if len(parts) != 3:
        raise ValueError(f"expected LAMBDA/TOPIC/PARTITION, {_EXAMPLE}, not {text!r}")
    name, topic, partition = parts
    if not name or not topic:
        missing = "lambda's name" if not name else "topic"
        raise ValueError(f"the {missing} is missing in {text!r}: expected LAMBDA/TOPIC/PARTITION, {_EXAMPLE}")
    return Target(name, topic, *parse_number(partition, _EXAMPLE))


def parse_number(text: str, example: str) -> tuple[int, int | None]:
    """Parse `PARTITION[.LANE]`. Raises ``ValueError``, whose text ends with the ``example``."""
    partition, dot, lane = text.partition(".")
    if not _is_number(partition):
        raise ValueError(f"{partition!r} is no partition: expected a number from 0, {example}")
    if dot and not _is_number(lane):
        raise ValueError(f"{lane!r} is no lane: expected a number from 0, {example}")
    return int(partition), int(lane) if dot else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) <= _MAX_PARTITION
