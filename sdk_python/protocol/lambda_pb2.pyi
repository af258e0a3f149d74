from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Guarantee(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GUARANTEE_UNSPECIFIED: _ClassVar[Guarantee]
    GUARANTEE_AT_LEAST_ONCE: _ClassVar[Guarantee]
    GUARANTEE_EXACTLY_ONCE: _ClassVar[Guarantee]

class TimestampType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIMESTAMP_TYPE_UNSPECIFIED: _ClassVar[TimestampType]
    TIMESTAMP_TYPE_CREATE_TIME: _ClassVar[TimestampType]
    TIMESTAMP_TYPE_LOG_APPEND_TIME: _ClassVar[TimestampType]

class RevokeReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOKE_REASON_UNSPECIFIED: _ClassVar[RevokeReason]
    REVOKE_REASON_REBALANCE: _ClassVar[RevokeReason]
    REVOKE_REASON_SHUTDOWN: _ClassVar[RevokeReason]
    REVOKE_REASON_LOST: _ClassVar[RevokeReason]
    REVOKE_REASON_HALTED: _ClassVar[RevokeReason]
    REVOKE_REASON_HAND_OVER: _ClassVar[RevokeReason]
    REVOKE_REASON_SEEK: _ClassVar[RevokeReason]
    REVOKE_REASON_PAUSED: _ClassVar[RevokeReason]
    REVOKE_REASON_DEADLINE: _ClassVar[RevokeReason]
    REVOKE_REASON_ABORTED: _ClassVar[RevokeReason]

class ClosedReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOSED_REASON_UNSPECIFIED: _ClassVar[ClosedReason]
    CLOSED_REASON_REVOKED: _ClassVar[ClosedReason]
    CLOSED_REASON_DECLINED: _ClassVar[ClosedReason]
    CLOSED_REASON_STOPPED: _ClassVar[ClosedReason]
    CLOSED_REASON_ERROR: _ClassVar[ClosedReason]

class CheckpointOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECKPOINT_OUTCOME_UNSPECIFIED: _ClassVar[CheckpointOutcome]
    CHECKPOINT_OUTCOME_ACCEPTED: _ClassVar[CheckpointOutcome]
    CHECKPOINT_OUTCOME_ACCEPTED_DRAINING: _ClassVar[CheckpointOutcome]
    CHECKPOINT_OUTCOME_IGNORED_LOWER: _ClassVar[CheckpointOutcome]
    CHECKPOINT_OUTCOME_STALE_LEASE: _ClassVar[CheckpointOutcome]
    CHECKPOINT_OUTCOME_BEYOND_DELIVERED: _ClassVar[CheckpointOutcome]
    CHECKPOINT_OUTCOME_STATE_TOO_LARGE: _ClassVar[CheckpointOutcome]

class ErrorAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_ACTION_UNSPECIFIED: _ClassVar[ErrorAction]
    ERROR_ACTION_RESTART: _ClassVar[ErrorAction]
    ERROR_ACTION_CRITICAL: _ClassVar[ErrorAction]
    ERROR_ACTION_REPORT: _ClassVar[ErrorAction]

class ErrorOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_OUTCOME_UNSPECIFIED: _ClassVar[ErrorOutcome]
    ERROR_OUTCOME_RESTARTING: _ClassVar[ErrorOutcome]
    ERROR_OUTCOME_HALTED: _ClassVar[ErrorOutcome]
    ERROR_OUTCOME_REPORTED: _ClassVar[ErrorOutcome]
    ERROR_OUTCOME_STALE_LEASE: _ClassVar[ErrorOutcome]
    ERROR_OUTCOME_DEAD_LETTERED: _ClassVar[ErrorOutcome]
    ERROR_OUTCOME_EXITING: _ClassVar[ErrorOutcome]

class ProduceOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRODUCE_OUTCOME_UNSPECIFIED: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_WRITTEN: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_FAILED: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_STALE_LEASE: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_TOO_LARGE: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_BUSY: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_HELD: _ClassVar[ProduceOutcome]
    PRODUCE_OUTCOME_TOO_MUCH_HELD: _ClassVar[ProduceOutcome]
GUARANTEE_UNSPECIFIED: Guarantee
GUARANTEE_AT_LEAST_ONCE: Guarantee
GUARANTEE_EXACTLY_ONCE: Guarantee
TIMESTAMP_TYPE_UNSPECIFIED: TimestampType
TIMESTAMP_TYPE_CREATE_TIME: TimestampType
TIMESTAMP_TYPE_LOG_APPEND_TIME: TimestampType
REVOKE_REASON_UNSPECIFIED: RevokeReason
REVOKE_REASON_REBALANCE: RevokeReason
REVOKE_REASON_SHUTDOWN: RevokeReason
REVOKE_REASON_LOST: RevokeReason
REVOKE_REASON_HALTED: RevokeReason
REVOKE_REASON_HAND_OVER: RevokeReason
REVOKE_REASON_SEEK: RevokeReason
REVOKE_REASON_PAUSED: RevokeReason
REVOKE_REASON_DEADLINE: RevokeReason
REVOKE_REASON_ABORTED: RevokeReason
CLOSED_REASON_UNSPECIFIED: ClosedReason
CLOSED_REASON_REVOKED: ClosedReason
CLOSED_REASON_DECLINED: ClosedReason
CLOSED_REASON_STOPPED: ClosedReason
CLOSED_REASON_ERROR: ClosedReason
CHECKPOINT_OUTCOME_UNSPECIFIED: CheckpointOutcome
CHECKPOINT_OUTCOME_ACCEPTED: CheckpointOutcome
CHECKPOINT_OUTCOME_ACCEPTED_DRAINING: CheckpointOutcome
CHECKPOINT_OUTCOME_IGNORED_LOWER: CheckpointOutcome
CHECKPOINT_OUTCOME_STALE_LEASE: CheckpointOutcome
CHECKPOINT_OUTCOME_BEYOND_DELIVERED: CheckpointOutcome
CHECKPOINT_OUTCOME_STATE_TOO_LARGE: CheckpointOutcome
ERROR_ACTION_UNSPECIFIED: ErrorAction
ERROR_ACTION_RESTART: ErrorAction
ERROR_ACTION_CRITICAL: ErrorAction
ERROR_ACTION_REPORT: ErrorAction
ERROR_OUTCOME_UNSPECIFIED: ErrorOutcome
ERROR_OUTCOME_RESTARTING: ErrorOutcome
ERROR_OUTCOME_HALTED: ErrorOutcome
ERROR_OUTCOME_REPORTED: ErrorOutcome
ERROR_OUTCOME_STALE_LEASE: ErrorOutcome
ERROR_OUTCOME_DEAD_LETTERED: ErrorOutcome
ERROR_OUTCOME_EXITING: ErrorOutcome
PRODUCE_OUTCOME_UNSPECIFIED: ProduceOutcome
PRODUCE_OUTCOME_WRITTEN: ProduceOutcome
PRODUCE_OUTCOME_FAILED: ProduceOutcome
PRODUCE_OUTCOME_STALE_LEASE: ProduceOutcome
PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED: ProduceOutcome
PRODUCE_OUTCOME_TOO_LARGE: ProduceOutcome
PRODUCE_OUTCOME_BUSY: ProduceOutcome
PRODUCE_OUTCOME_HELD: ProduceOutcome
PRODUCE_OUTCOME_TOO_MUCH_HELD: ProduceOutcome

class LambdaFrame(_message.Message):
    __slots__ = ("offer", "available", "ready", "closed", "pause", "resume", "progress")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    offer: Offer
    available: Available
    ready: Ready
    closed: Closed
    pause: Pause
    resume: Resume
    progress: Progress
    def __init__(self, offer: _Optional[_Union[Offer, _Mapping]] = ..., available: _Optional[_Union[Available, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., closed: _Optional[_Union[Closed, _Mapping]] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...

class HostFrame(_message.Message):
    __slots__ = ("welcome", "assigned", "batch", "revoked", "resumed", "committed", "shared")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assigned: Assigned
    batch: Batch
    revoked: Revoked
    resumed: Resumed
    committed: Committed
    shared: SharedFrame
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assigned: _Optional[_Union[Assigned, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., revoked: _Optional[_Union[Revoked, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ..., committed: _Optional[_Union[Committed, _Mapping]] = ..., shared: _Optional[_Union[SharedFrame, _Mapping]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("lambda_name", "process_id", "instance", "protocol_version", "client", "max_message_bytes", "capabilities", "pid", "lambda_version")
    LAMBDA_NAME_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LAMBDA_VERSION_FIELD_NUMBER: _ClassVar[int]
    lambda_name: str
    process_id: str
    instance: str
    protocol_version: int
    client: Client
    max_message_bytes: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    pid: int
    lambda_version: str
    def __init__(self, lambda_name: _Optional[str] = ..., process_id: _Optional[str] = ..., instance: _Optional[str] = ..., protocol_version: _Optional[int] = ..., client: _Optional[_Union[Client, _Mapping]] = ..., max_message_bytes: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., pid: _Optional[int] = ..., lambda_version: _Optional[str] = ...) -> None: ...

class Client(_message.Message):
    __slots__ = ("name", "version", "language")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    language: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., language: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("settings_json", "protocol_version", "capabilities", "window_messages", "window_bytes", "max_frame_bytes", "sidecar_version", "window_span", "limits", "guarantee", "max_state_bytes")
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_VERSION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SPAN_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    MAX_STATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    settings_json: str
    protocol_version: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    window_messages: int
    window_bytes: int
    max_frame_bytes: int
    sidecar_version: str
    window_span: int
    limits: Limits
    guarantee: Guarantee
    max_state_bytes: int
    def __init__(self, settings_json: _Optional[str] = ..., protocol_version: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., window_messages: _Optional[int] = ..., window_bytes: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., sidecar_version: _Optional[str] = ..., window_span: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., guarantee: _Optional[_Union[Guarantee, str]] = ..., max_state_bytes: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_request_bytes", "max_checkpoint_entries", "max_produce_records", "max_produce_topics", "max_producing_records", "max_producing_bytes", "produce_timeout_ms", "offer_timeout_ms", "request_timeout_ms", "ready_timeout_ms", "close_timeout_ms", "max_streams_per_connection", "max_offering_streams_per_connection", "max_spare_streams_per_process", "max_spare_streams_per_lambda", "min_ping_interval_ms", "idle_timeout_ms", "max_held_records", "max_held_bytes")
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CHECKPOINT_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_PRODUCE_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_PRODUCE_TOPICS_FIELD_NUMBER: _ClassVar[int]
    MAX_PRODUCING_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_PRODUCING_BYTES_FIELD_NUMBER: _ClassVar[int]
    PRODUCE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    OFFER_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    READY_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAMS_PER_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    MAX_OFFERING_STREAMS_PER_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    MAX_SPARE_STREAMS_PER_PROCESS_FIELD_NUMBER: _ClassVar[int]
    MAX_SPARE_STREAMS_PER_LAMBDA_FIELD_NUMBER: _ClassVar[int]
    MIN_PING_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_HELD_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_request_bytes: int
    max_checkpoint_entries: int
    max_produce_records: int
    max_produce_topics: int
    max_producing_records: int
    max_producing_bytes: int
    produce_timeout_ms: int
    offer_timeout_ms: int
    request_timeout_ms: int
    ready_timeout_ms: int
    close_timeout_ms: int
    max_streams_per_connection: int
    max_offering_streams_per_connection: int
    max_spare_streams_per_process: int
    max_spare_streams_per_lambda: int
    min_ping_interval_ms: int
    idle_timeout_ms: int
    max_held_records: int
    max_held_bytes: int
    def __init__(self, max_request_bytes: _Optional[int] = ..., max_checkpoint_entries: _Optional[int] = ..., max_produce_records: _Optional[int] = ..., max_produce_topics: _Optional[int] = ..., max_producing_records: _Optional[int] = ..., max_producing_bytes: _Optional[int] = ..., produce_timeout_ms: _Optional[int] = ..., offer_timeout_ms: _Optional[int] = ..., request_timeout_ms: _Optional[int] = ..., ready_timeout_ms: _Optional[int] = ..., close_timeout_ms: _Optional[int] = ..., max_streams_per_connection: _Optional[int] = ..., max_offering_streams_per_connection: _Optional[int] = ..., max_spare_streams_per_process: _Optional[int] = ..., max_spare_streams_per_lambda: _Optional[int] = ..., min_ping_interval_ms: _Optional[int] = ..., idle_timeout_ms: _Optional[int] = ..., max_held_records: _Optional[int] = ..., max_held_bytes: _Optional[int] = ...) -> None: ...

class Available(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Assigned(_message.Message):
    __slots__ = ("lease", "topic", "partition", "start_offset", "attempt", "lane", "lanes", "state", "shared_memory")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    START_OFFSET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    lease: str
    topic: str
    partition: int
    start_offset: int
    attempt: int
    lane: int
    lanes: int
    state: bytes
    shared_memory: SharedMemory
    def __init__(self, lease: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., start_offset: _Optional[int] = ..., attempt: _Optional[int] = ..., lane: _Optional[int] = ..., lanes: _Optional[int] = ..., state: _Optional[bytes] = ..., shared_memory: _Optional[_Union[SharedMemory, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("lease", "shared_memory")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    lease: str
    shared_memory: bool
    def __init__(self, lease: _Optional[str] = ..., shared_memory: _Optional[bool] = ...) -> None: ...

class SharedMemory(_message.Message):
    __slots__ = ("token", "bytes")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    token: str
    bytes: int
    def __init__(self, token: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class SharedFrame(_message.Message):
    __slots__ = ("position", "length")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    position: int
    length: int
    def __init__(self, position: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("first_offset", "offsets", "timestamps", "timestamp_type", "keys", "values", "null_keys", "null_values", "header_counts", "header_names", "header_values", "null_header_values")
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NULL_KEYS_FIELD_NUMBER: _ClassVar[int]
    NULL_VALUES_FIELD_NUMBER: _ClassVar[int]
    HEADER_COUNTS_FIELD_NUMBER: _ClassVar[int]
    HEADER_NAMES_FIELD_NUMBER: _ClassVar[int]
    HEADER_VALUES_FIELD_NUMBER: _ClassVar[int]
    NULL_HEADER_VALUES_FIELD_NUMBER: _ClassVar[int]
    first_offset: int
    offsets: _containers.RepeatedScalarFieldContainer[int]
    timestamps: _containers.RepeatedScalarFieldContainer[int]
    timestamp_type: TimestampType
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    null_keys: _containers.RepeatedScalarFieldContainer[int]
    null_values: _containers.RepeatedScalarFieldContainer[int]
    header_counts: _containers.RepeatedScalarFieldContainer[int]
    header_names: _containers.RepeatedScalarFieldContainer[bytes]
    header_values: _containers.RepeatedScalarFieldContainer[bytes]
    null_header_values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, first_offset: _Optional[int] = ..., offsets: _Optional[_Iterable[int]] = ..., timestamps: _Optional[_Iterable[int]] = ..., timestamp_type: _Optional[_Union[TimestampType, str]] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., null_keys: _Optional[_Iterable[int]] = ..., null_values: _Optional[_Iterable[int]] = ..., header_counts: _Optional[_Iterable[int]] = ..., header_names: _Optional[_Iterable[bytes]] = ..., header_values: _Optional[_Iterable[bytes]] = ..., null_header_values: _Optional[_Iterable[int]] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("reason", "deadline_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    reason: RevokeReason
    deadline_ms: int
    def __init__(self, reason: _Optional[_Union[RevokeReason, str]] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class Closed(_message.Message):
    __slots__ = ("reason", "last_checkpoint")
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    reason: ClosedReason
    last_checkpoint: CheckpointEntry
    def __init__(self, reason: _Optional[_Union[ClosedReason, str]] = ..., last_checkpoint: _Optional[_Union[CheckpointEntry, _Mapping]] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("offset", "reason", "retry_after_ms", "number")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    offset: int
    reason: str
    retry_after_ms: int
    number: int
    def __init__(self, offset: _Optional[int] = ..., reason: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("number", "from_offset")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    number: int
    from_offset: int
    def __init__(self, number: _Optional[int] = ..., from_offset: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Committed(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class CheckpointRequest(_message.Message):
    __slots__ = ("entries", "handler_times")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HANDLER_TIMES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[CheckpointEntry]
    handler_times: HandlerTimes
    def __init__(self, entries: _Optional[_Iterable[_Union[CheckpointEntry, _Mapping]]] = ..., handler_times: _Optional[_Union[HandlerTimes, _Mapping]] = ...) -> None: ...

class HandlerTimes(_message.Message):
    __slots__ = ("lease", "counts", "sum_us")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUM_US_FIELD_NUMBER: _ClassVar[int]
    lease: str
    counts: _containers.RepeatedScalarFieldContainer[int]
    sum_us: int
    def __init__(self, lease: _Optional[str] = ..., counts: _Optional[_Iterable[int]] = ..., sum_us: _Optional[int] = ...) -> None: ...

class CheckpointEntry(_message.Message):
    __slots__ = ("lease", "offset", "completed_beyond", "completed_beyond_bytes", "handled", "skipped", "skipping", "skipping_count", "state")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_BEYOND_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_BEYOND_BYTES_FIELD_NUMBER: _ClassVar[int]
    HANDLED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SKIPPING_FIELD_NUMBER: _ClassVar[int]
    SKIPPING_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    lease: str
    offset: int
    completed_beyond: int
    completed_beyond_bytes: int
    handled: int
    skipped: int
    skipping: _containers.RepeatedScalarFieldContainer[str]
    skipping_count: int
    state: bytes
    def __init__(self, lease: _Optional[str] = ..., offset: _Optional[int] = ..., completed_beyond: _Optional[int] = ..., completed_beyond_bytes: _Optional[int] = ..., handled: _Optional[int] = ..., skipped: _Optional[int] = ..., skipping: _Optional[_Iterable[str]] = ..., skipping_count: _Optional[int] = ..., state: _Optional[bytes] = ...) -> None: ...

class CheckpointResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CheckpointResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CheckpointResult, _Mapping]]] = ...) -> None: ...

class CheckpointResult(_message.Message):
    __slots__ = ("outcome", "delivered")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    outcome: CheckpointOutcome
    delivered: int
    def __init__(self, outcome: _Optional[_Union[CheckpointOutcome, str]] = ..., delivered: _Optional[int] = ...) -> None: ...

class ErrorRequest(_message.Message):
    __slots__ = ("lease", "action", "offset", "code", "message", "type", "stack", "last_checkpoint")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    LAST_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    lease: str
    action: ErrorAction
    offset: int
    code: str
    message: str
    type: str
    stack: str
    last_checkpoint: CheckpointEntry
    def __init__(self, lease: _Optional[str] = ..., action: _Optional[_Union[ErrorAction, str]] = ..., offset: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., type: _Optional[str] = ..., stack: _Optional[str] = ..., last_checkpoint: _Optional[_Union[CheckpointEntry, _Mapping]] = ...) -> None: ...

class ErrorResponse(_message.Message):
    __slots__ = ("outcome", "retry_after_ms")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    outcome: ErrorOutcome
    retry_after_ms: int
    def __init__(self, outcome: _Optional[_Union[ErrorOutcome, str]] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class ProduceRequest(_message.Message):
    __slots__ = ("lease", "topics", "topic_indexes", "keys", "values", "null_keys", "null_values", "partitions", "header_counts", "header_names", "header_values", "null_header_values", "commit", "sources")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_INDEXES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NULL_KEYS_FIELD_NUMBER: _ClassVar[int]
    NULL_VALUES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    HEADER_COUNTS_FIELD_NUMBER: _ClassVar[int]
    HEADER_NAMES_FIELD_NUMBER: _ClassVar[int]
    HEADER_VALUES_FIELD_NUMBER: _ClassVar[int]
    NULL_HEADER_VALUES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    lease: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    topic_indexes: _containers.RepeatedScalarFieldContainer[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    null_keys: _containers.RepeatedScalarFieldContainer[int]
    null_values: _containers.RepeatedScalarFieldContainer[int]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    header_counts: _containers.RepeatedScalarFieldContainer[int]
    header_names: _containers.RepeatedScalarFieldContainer[bytes]
    header_values: _containers.RepeatedScalarFieldContainer[bytes]
    null_header_values: _containers.RepeatedScalarFieldContainer[int]
    commit: CheckpointEntry
    sources: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, lease: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., topic_indexes: _Optional[_Iterable[int]] = ..., keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., null_keys: _Optional[_Iterable[int]] = ..., null_values: _Optional[_Iterable[int]] = ..., partitions: _Optional[_Iterable[int]] = ..., header_counts: _Optional[_Iterable[int]] = ..., header_names: _Optional[_Iterable[bytes]] = ..., header_values: _Optional[_Iterable[bytes]] = ..., null_header_values: _Optional[_Iterable[int]] = ..., commit: _Optional[_Union[CheckpointEntry, _Mapping]] = ..., sources: _Optional[_Iterable[int]] = ...) -> None: ...

class ProduceResponse(_message.Message):
    __slots__ = ("outcomes", "partitions", "offsets", "errors", "retry_after_ms", "commit")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedScalarFieldContainer[ProduceOutcome]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    offsets: _containers.RepeatedScalarFieldContainer[int]
    errors: _containers.RepeatedScalarFieldContainer[str]
    retry_after_ms: int
    commit: CheckpointResult
    def __init__(self, outcomes: _Optional[_Iterable[_Union[ProduceOutcome, str]]] = ..., partitions: _Optional[_Iterable[int]] = ..., offsets: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[str]] = ..., retry_after_ms: _Optional[int] = ..., commit: _Optional[_Union[CheckpointResult, _Mapping]] = ...) -> None: ...
