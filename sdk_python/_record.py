"""The records that a lambda produces, and what may be in them."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

MAX_OFFSET: Final = 2**63 - 1
MAX_TOPIC_NAME: Final = 249
"""Characters of a topic's name; Kafka takes no longer one."""
OVERHEAD_BYTES: Final = 32
"""Of a record or a header on the wire."""

Headers = Sequence[tuple[str, bytes | None]]
WireHeaders = Sequence[tuple[bytes, bytes | None]]
"""Headers whose names are encoded."""


class Record(NamedTuple):
    """A record to produce."""

    value: bytes | str | None
    key: bytes | str | None = None
    headers: Headers = ()
    partition: int | None = None
    """None: chosen by the key, as the Java client does (murmur2); without a key any."""


class Columns(NamedTuple):
    """Records to produce, as columns: the same as a `Record` for each, and cheaper.

    ``keys``, ``headers`` and ``partitions`` are as long as ``values``; None: no record has one.
    """

    values: Sequence[bytes | str | None]
    keys: Sequence[bytes | str | None] | None = None
    headers: Sequence[Headers] | None = None
    partitions: Sequence[int | None] | None = None


class Checked(NamedTuple):
    """A record that can be sent; ``size`` is in bytes, on the wire, and partition -1 is any."""

    value: bytes | None
    key: bytes | None
    headers: WireHeaders
    partition: int
    size: int


def checked(topic: str, value: object, key: object = None, headers: Any = (), partition: object = None) -> Checked:
    """Check a record. Raises ``TypeError`` or ``ValueError``."""
    check_name(topic)
    value, key = as_bytes("value", value), as_bytes("key", key)
    wired, size = wire_headers(headers)
    size += OVERHEAD_BYTES + len(value or b"") + len(key or b"")
    return Checked(value, key, wired, -1 if partition is None else checked_partition(partition), size)


def check_name(topic: object) -> None:
    """Check a topic's name. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(topic, str):
        raise TypeError(f"produce(topic): a text, got {type(topic).__name__}")
    _check_length(topic)


@lru_cache(maxsize=1000)
def _check_length(topic: str) -> None:
    """Once for each topic while there are few: a lambda produces to the same ones all the time."""
    if not 0 < len(topic.encode()) <= MAX_TOPIC_NAME:
        raise ValueError(f"produce(topic): a name has 1 to {MAX_TOPIC_NAME} characters, got {topic[:50]!r}")


def checked_partition(partition: object) -> int:
    """Check the number of a partition. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(partition, int) or isinstance(partition, bool):
        raise TypeError(f"produce(partition): an int or None, got {type(partition).__name__}")
    if not 0 <= partition < 2**31:
        raise ValueError(f"produce(partition): 0 to 2147483647, got {partition}")
    return partition


def checked_source(source: object) -> int:
    """Check the offset of the message that a record is made from. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(source, int) or isinstance(source, bool):
        raise TypeError(f"produce(source): the offset of a message or None, got {type(source).__name__}")
    if not 0 <= source <= MAX_OFFSET:
        raise ValueError(f"produce(source): an offset is 0 to {MAX_OFFSET}, got {source}")
    return source


def as_bytes(what: str, value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"produce({what}): bytes, a text or None, got {type(value).__name__}")


def wire_headers(headers: Any) -> tuple[WireHeaders, int]:
    """Return the headers as they are sent, and their bytes. Raises ``TypeError`` when one is none."""
    wired, size = [], 0
    for header in headers:
        name, content = _header(header)
        wire_name = encoded(name)
        wired.append((wire_name, content))
        size += OVERHEAD_BYTES + len(wire_name) + (len(content) if content else 0)
    return wired, size


def checked_headers(headers: Iterable[Any]) -> list[tuple[str, bytes | None]]:
    """Return a copy, since the lambda may use its list for the next record. Raises ``TypeError`` when one is none."""
    return [*map(_header, headers)]


def _header(header: Any) -> tuple[str, bytes | None]:
    if isinstance(header, (tuple, Sequence)) and len(header) == 2:  # ABCs are slow to ask, and most are tuples
        name, content = header
        if isinstance(name, str) and (content is None or isinstance(content, bytes)):
            return name, content
    raise TypeError(f"produce(headers): pairs of a text and bytes or None, got {header!r}")


def encoded(name: str) -> bytes:
    """Encode a header's name as `Message.headers` decodes it. The sidecar refuses one that cannot be written."""
    return name.encode("utf-8", "surrogateescape")
