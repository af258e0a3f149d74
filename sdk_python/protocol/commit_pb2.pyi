from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CommitMetadata(_message.Message):
    __slots__ = ("topic_id", "partitions_at_start", "began_at_ms")
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_AT_START_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    topic_id: bytes
    partitions_at_start: int
    began_at_ms: int
    def __init__(self, topic_id: _Optional[bytes] = ..., partitions_at_start: _Optional[int] = ..., began_at_ms: _Optional[int] = ...) -> None: ...
