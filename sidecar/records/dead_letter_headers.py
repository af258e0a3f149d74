"""The headers of a dead letter: the names that the sidecar writes, and a record's own headers without them.

A name is Kafka Connect's (KIP-298) if Connect has one, otherwise ours. Who writes dead letters
(`sidecar/producing/dead_letters.py`) and who reads them (`sidecar/dead_letters/`) share this module.
"""

from collections.abc import Iterable

from sidecar.records.header_names import writable

_CONNECT = "__connect.errors."
_OURS = "__kafka_sidecar.errors."

TOPIC = f"{_CONNECT}topic"
PARTITION = f"{_CONNECT}partition"
OFFSET = f"{_CONNECT}offset"
TYPE = f"{_CONNECT}exception.class.name"
MESSAGE = f"{_CONNECT}exception.message"
STACK = f"{_CONNECT}exception.stacktrace"
TIMESTAMP = f"{_OURS}timestamp"
TIMESTAMP_TYPE = f"{_OURS}timestamp.type"
CODE = f"{_OURS}code"
ATTEMPTS = f"{_OURS}attempts"
FIRST_FAILURE = f"{_OURS}first.failure"
LAST_FAILURE = f"{_OURS}last.failure"
LAMBDA = f"{_OURS}lambda"
LAMBDA_VERSION = f"{_OURS}lambda.version"
GROUP = f"{_OURS}group"

_CONNECTS = frozenset(name.encode() for name in (TOPIC, PARTITION, OFFSET, TYPE, MESSAGE, STACK))


def is_added(name: bytes) -> bool:
    """Whether the sidecar adds this header to a dead letter, in any case of its letters.

    All names with our prefix count; other error headers of Kafka Connect are the record's own.
    """
    lower = name.lower()
    return lower.startswith(_OURS.encode()) or lower in _CONNECTS


def own_headers(headers: Iterable[tuple[bytes, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """A record's headers, without those that were added when it was a dead letter before.

    Raises ``ValueError`` when the name of one cannot be written unchanged.
    """
    return [(writable(name), value) for name, value in headers if not is_added(name)]
