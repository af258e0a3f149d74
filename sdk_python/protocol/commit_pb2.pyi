from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CommitMetadata(_message.Message):
    __slots__ = ("topic_id", "partitions_at_start", "began_at_ms", "lanes", "lane_offsets", "states")
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_AT_START_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    LANE_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    topic_id: bytes
    partitions_at_start: int
    began_at_ms: int
    lanes: int
    lane_offsets: _containers.RepeatedScalarFieldContainer[int]
    states: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, topic_id: _Optional[bytes] = ..., partitions_at_start: _Optional[int] = ..., began_at_ms: _Optional[int] = ..., lanes: _Optional[int] = ..., lane_offsets: _Optional[_Iterable[int]] = ..., states: _Optional[_Iterable[bytes]] = ...) -> None: ...
