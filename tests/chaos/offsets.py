"""The records of Kafka's group coordinator in `__consumer_offsets`: all commits and assignments, in one order.

Only accepted commits are there, so this topic shows the truth about commits, whatever a sidecar believes. The formats
are Kafka's own (`OffsetCommitKey`, `OffsetCommitValue`, `GroupMetadataKey`, `GroupMetadataValue` in the group
coordinator's resources, `ConsumerProtocolAssignment` in its clients). Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

TOPIC = "__consumer_offsets"
_COMMIT_KEYS = (0, 1)
_GROUP_KEY = 2
_COMMIT_FLEXIBLE = 4
_GROUP_VERSIONS = range(4)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A member's commit. ``offset``: None for a tombstone, which removes the commit."""

    group: str
    topic: str
    partition: int
    offset: int | None
    wall: float
    """The broker's wall clock, seconds; 0 for a tombstone."""
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """The group after a rebalance. ``owners``: (member id, client id) by (topic, partition)."""

    group: str
    generation: int
    owners: Mapping[tuple[str, int], tuple[str, str]]


class UnknownFormatError(ValueError):
    """A version of a format that this module does not read."""


class Reader:
    """Reads Kafka's primitive types from a buffer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises ``ValueError`` when there are fewer."""
        if size < 0 or self._at + size > len(self._data):
            raise ValueError(f"{size} bytes at {self._at} of {len(self._data)}")
        self._at += size
        return self._data[self._at - size : self._at]

    def int16(self) -> int:
        """A short."""
        return int(struct.unpack(">h", self.take(2))[0])

    def int32(self) -> int:
        """An int."""
        return int(struct.unpack(">i", self.take(4))[0])

    def int64(self) -> int:
        """A long."""
        return int(struct.unpack(">q", self.take(8))[0])

    def varint(self) -> int:
        """An unsigned varint."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    def string(self) -> str | None:
        """A nullable string with a short in front."""
        size = self.int16()
        return None if size < 0 else self.take(size).decode()

    def compact_string(self) -> str | None:
        """A nullable string with a varint of size + 1 in front."""
        size = self.varint()
        return None if size == 0 else self.take(size - 1).decode()

    def bytes(self) -> bytes:
        """Bytes with an int in front; null is empty."""
        return self.take(max(0, self.int32()))

    def array(self, item: Callable[[], T]) -> list[T]:
        """A list whose length is the int in front."""
        return [item() for _ in range(self.int32())]


def parse(key: bytes | None, value: bytes | None) -> CommitRecord | GroupRecord | None:
    """Parse a record of `__consumer_offsets`; None for other kinds than commits and assignments.

    Raises ``UnknownFormatError`` for an unknown version of a commit or an assignment.
    """
    if key is None:
        return None
    reader = Reader(key)
    version = reader.int16()
    if version in _COMMIT_KEYS:
        group, topic, partition = reader.string() or "", reader.string() or "", reader.int32()
        if value is None:
            return CommitRecord(group, topic, partition, None, 0.0)
        offset, metadata, wall = _commit(Reader(value))
        return CommitRecord(group, topic, partition, offset, wall, metadata)
    if version == _GROUP_KEY and value is not None:
        return _group(reader.string() or "", Reader(value))
    return None


def _commit(reader: Reader) -> tuple[int, str, float]:
    version = reader.int16()
    if not 0 <= version <= _COMMIT_FLEXIBLE:
        raise UnknownFormatError(f"OffsetCommitValue version {version}")
    offset = reader.int64()
    if version >= 3:
        reader.int32()  # the leader's epoch
    metadata = reader.compact_string() if version >= _COMMIT_FLEXIBLE else reader.string()
    # `confluent-kafka` counts the NUL at the end of a C string, and so it is in Kafka.
    return offset, (metadata or "").rstrip("\0"), reader.int64() / 1000


def _group(group: str, reader: Reader) -> GroupRecord:
    version = reader.int16()
    if version not in _GROUP_VERSIONS:
        raise UnknownFormatError(f"GroupMetadataValue version {version}")
    reader.string()  # the kind of protocol: consumer
    generation = reader.int32()
    reader.string()  # the assignor
    reader.string()  # the leader
    if version >= 2:
        reader.int64()  # since when
    owners: dict[tuple[str, int], tuple[str, str]] = {}

    def member() -> None:
        member_id = reader.string() or ""
        if version >= 3:
            reader.string()  # its group.instance.id
        client = reader.string() or ""
        reader.string()  # its host
        if version >= 1:
            reader.int32()  # its rebalance timeout
        reader.int32()  # its session timeout
        reader.bytes()  # its subscription
        for tp in assignment(reader.bytes()):
            owners[tp] = (member_id, client)

    reader.array(member)
    return GroupRecord(group, generation, owners)


def assignment(data: bytes) -> list[tuple[str, int]]:
    """The (topic, partition) pairs of a `ConsumerProtocolAssignment`, which may be empty."""
    if not data:
        return []
    reader = Reader(data)
    reader.int16()  # version
    found: list[tuple[str, int]] = []

    def of_topic() -> None:
        topic = reader.string() or ""
        found.extend((topic, number) for number in reader.array(reader.int32))

    reader.array(of_topic)
    return found
