from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RebalanceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REBALANCE_KIND_UNSPECIFIED: _ClassVar[RebalanceKind]
    REBALANCE_KIND_ASSIGNED: _ClassVar[RebalanceKind]
    REBALANCE_KIND_REVOKED: _ClassVar[RebalanceKind]
    REBALANCE_KIND_LOST: _ClassVar[RebalanceKind]
    REBALANCE_KIND_LEFT: _ClassVar[RebalanceKind]
    REBALANCE_KIND_ASKED: _ClassVar[RebalanceKind]

class FailureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_KIND_UNSPECIFIED: _ClassVar[FailureKind]
    FAILURE_KIND_FAILED: _ClassVar[FailureKind]
    FAILURE_KIND_CRITICAL: _ClassVar[FailureKind]
    FAILURE_KIND_CREATE: _ClassVar[FailureKind]
    FAILURE_KIND_BROKE: _ClassVar[FailureKind]
    FAILURE_KIND_LATE: _ClassVar[FailureKind]
    FAILURE_KIND_CLOSED: _ClassVar[FailureKind]
    FAILURE_KIND_UNDELIVERABLE: _ClassVar[FailureKind]
    FAILURE_KIND_DEAD_LETTER: _ClassVar[FailureKind]
    FAILURE_KIND_OFFSET_LOST: _ClassVar[FailureKind]
    FAILURE_KIND_DEADLINE: _ClassVar[FailureKind]
    FAILURE_KIND_ABORTED: _ClassVar[FailureKind]

class WaitsFor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAITS_FOR_UNSPECIFIED: _ClassVar[WaitsFor]
    WAITS_FOR_RECORDS: _ClassVar[WaitsFor]
    WAITS_FOR_FETCH: _ClassVar[WaitsFor]
    WAITS_FOR_PROCESS: _ClassVar[WaitsFor]
    WAITS_FOR_READY: _ClassVar[WaitsFor]
    WAITS_FOR_LAMBDA: _ClassVar[WaitsFor]
    WAITS_FOR_CHECKPOINT: _ClassVar[WaitsFor]
    WAITS_FOR_RETRY: _ClassVar[WaitsFor]
    WAITS_FOR_RESUME: _ClassVar[WaitsFor]
    WAITS_FOR_PAUSE: _ClassVar[WaitsFor]
    WAITS_FOR_DRAIN: _ClassVar[WaitsFor]
    WAITS_FOR_OFFSET: _ClassVar[WaitsFor]
    WAITS_FOR_LEADER: _ClassVar[WaitsFor]
    WAITS_FOR_DEAD_LETTER: _ClassVar[WaitsFor]
    WAITS_FOR_TRANSACTION: _ClassVar[WaitsFor]

class PartitionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARTITION_STATE_UNSPECIFIED: _ClassVar[PartitionState]
    PARTITION_STATE_WAITING: _ClassVar[PartitionState]
    PARTITION_STATE_STARTING: _ClassVar[PartitionState]
    PARTITION_STATE_RUNNING: _ClassVar[PartitionState]
    PARTITION_STATE_DRAINING: _ClassVar[PartitionState]
    PARTITION_STATE_BACKING_OFF: _ClassVar[PartitionState]
    PARTITION_STATE_HALTED: _ClassVar[PartitionState]
    PARTITION_STATE_RESOLVING: _ClassVar[PartitionState]
    PARTITION_STATE_PAUSED: _ClassVar[PartitionState]

class Edge(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_UNSPECIFIED: _ClassVar[Edge]
    EDGE_EARLIEST: _ClassVar[Edge]
    EDGE_LATEST: _ClassVar[Edge]
REBALANCE_KIND_UNSPECIFIED: RebalanceKind
REBALANCE_KIND_ASSIGNED: RebalanceKind
REBALANCE_KIND_REVOKED: RebalanceKind
REBALANCE_KIND_LOST: RebalanceKind
REBALANCE_KIND_LEFT: RebalanceKind
REBALANCE_KIND_ASKED: RebalanceKind
FAILURE_KIND_UNSPECIFIED: FailureKind
FAILURE_KIND_FAILED: FailureKind
FAILURE_KIND_CRITICAL: FailureKind
FAILURE_KIND_CREATE: FailureKind
FAILURE_KIND_BROKE: FailureKind
FAILURE_KIND_LATE: FailureKind
FAILURE_KIND_CLOSED: FailureKind
FAILURE_KIND_UNDELIVERABLE: FailureKind
FAILURE_KIND_DEAD_LETTER: FailureKind
FAILURE_KIND_OFFSET_LOST: FailureKind
FAILURE_KIND_DEADLINE: FailureKind
FAILURE_KIND_ABORTED: FailureKind
WAITS_FOR_UNSPECIFIED: WaitsFor
WAITS_FOR_RECORDS: WaitsFor
WAITS_FOR_FETCH: WaitsFor
WAITS_FOR_PROCESS: WaitsFor
WAITS_FOR_READY: WaitsFor
WAITS_FOR_LAMBDA: WaitsFor
WAITS_FOR_CHECKPOINT: WaitsFor
WAITS_FOR_RETRY: WaitsFor
WAITS_FOR_RESUME: WaitsFor
WAITS_FOR_PAUSE: WaitsFor
WAITS_FOR_DRAIN: WaitsFor
WAITS_FOR_OFFSET: WaitsFor
WAITS_FOR_LEADER: WaitsFor
WAITS_FOR_DEAD_LETTER: WaitsFor
WAITS_FOR_TRANSACTION: WaitsFor
PARTITION_STATE_UNSPECIFIED: PartitionState
PARTITION_STATE_WAITING: PartitionState
PARTITION_STATE_STARTING: PartitionState
PARTITION_STATE_RUNNING: PartitionState
PARTITION_STATE_DRAINING: PartitionState
PARTITION_STATE_BACKING_OFF: PartitionState
PARTITION_STATE_HALTED: PartitionState
PARTITION_STATE_RESOLVING: PartitionState
PARTITION_STATE_PAUSED: PartitionState
EDGE_UNSPECIFIED: Edge
EDGE_EARLIEST: Edge
EDGE_LATEST: Edge

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("version", "started_at_ms", "bootstrap_servers", "lambdas", "now_ms", "host", "pid", "config_hash", "memory_bytes", "draining")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_SERVERS_FIELD_NUMBER: _ClassVar[int]
    LAMBDAS_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    version: str
    started_at_ms: int
    bootstrap_servers: str
    lambdas: _containers.RepeatedCompositeFieldContainer[Lambda]
    now_ms: int
    host: str
    pid: int
    config_hash: str
    memory_bytes: int
    draining: bool
    def __init__(self, version: _Optional[str] = ..., started_at_ms: _Optional[int] = ..., bootstrap_servers: _Optional[str] = ..., lambdas: _Optional[_Iterable[_Union[Lambda, _Mapping]]] = ..., now_ms: _Optional[int] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., config_hash: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., draining: _Optional[bool] = ...) -> None: ...

class Lambda(_message.Message):
    __slots__ = ("name", "group", "topics", "connected", "joined", "problem", "processes", "partitions", "records_sent", "records_fetched", "restarts", "dead_letters", "hand_overs", "reports", "problems", "skipped_records", "supervised", "last_rebalance", "rebalances", "bytes_sent", "produced_records", "produce_failures", "lanes", "exactly_once", "transactions_committed", "transactions_aborted", "topic_sizes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_SENT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FETCHED_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    HAND_OVERS_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    SUPERVISED_FIELD_NUMBER: _ClassVar[int]
    LAST_REBALANCE_FIELD_NUMBER: _ClassVar[int]
    REBALANCES_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    PRODUCE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    EXACTLY_ONCE_FIELD_NUMBER: _ClassVar[int]
    TRANSACTIONS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    TRANSACTIONS_ABORTED_FIELD_NUMBER: _ClassVar[int]
    TOPIC_SIZES_FIELD_NUMBER: _ClassVar[int]
    name: str
    group: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    connected: bool
    joined: bool
    problem: str
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    partitions: _containers.RepeatedCompositeFieldContainer[Partition]
    records_sent: int
    records_fetched: int
    restarts: int
    dead_letters: int
    hand_overs: int
    reports: int
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    skipped_records: int
    supervised: _containers.RepeatedCompositeFieldContainer[Supervised]
    last_rebalance: Rebalance
    rebalances: int
    bytes_sent: int
    produced_records: int
    produce_failures: int
    lanes: int
    exactly_once: bool
    transactions_committed: int
    transactions_aborted: int
    topic_sizes: _containers.RepeatedCompositeFieldContainer[TopicSize]
    def __init__(self, name: _Optional[str] = ..., group: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., connected: _Optional[bool] = ..., joined: _Optional[bool] = ..., problem: _Optional[str] = ..., processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ..., partitions: _Optional[_Iterable[_Union[Partition, _Mapping]]] = ..., records_sent: _Optional[int] = ..., records_fetched: _Optional[int] = ..., restarts: _Optional[int] = ..., dead_letters: _Optional[int] = ..., hand_overs: _Optional[int] = ..., reports: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., skipped_records: _Optional[int] = ..., supervised: _Optional[_Iterable[_Union[Supervised, _Mapping]]] = ..., last_rebalance: _Optional[_Union[Rebalance, _Mapping]] = ..., rebalances: _Optional[int] = ..., bytes_sent: _Optional[int] = ..., produced_records: _Optional[int] = ..., produce_failures: _Optional[int] = ..., lanes: _Optional[int] = ..., exactly_once: _Optional[bool] = ..., transactions_committed: _Optional[int] = ..., transactions_aborted: _Optional[int] = ..., topic_sizes: _Optional[_Iterable[_Union[TopicSize, _Mapping]]] = ...) -> None: ...

class TopicSize(_message.Message):
    __slots__ = ("topic", "partitions")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partitions: int
    def __init__(self, topic: _Optional[str] = ..., partitions: _Optional[int] = ...) -> None: ...

class Rebalance(_message.Message):
    __slots__ = ("at_ms", "kind", "partitions", "reason")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    kind: RebalanceKind
    partitions: int
    reason: str
    def __init__(self, at_ms: _Optional[int] = ..., kind: _Optional[_Union[RebalanceKind, str]] = ..., partitions: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Supervised(_message.Message):
    __slots__ = ("instance", "program", "pid", "since_ms", "exits", "failures", "next_start_ms", "last_exits")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    EXITS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_START_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_EXITS_FIELD_NUMBER: _ClassVar[int]
    instance: int
    program: str
    pid: int
    since_ms: int
    exits: int
    failures: int
    next_start_ms: int
    last_exits: _containers.RepeatedCompositeFieldContainer[Exit]
    def __init__(self, instance: _Optional[int] = ..., program: _Optional[str] = ..., pid: _Optional[int] = ..., since_ms: _Optional[int] = ..., exits: _Optional[int] = ..., failures: _Optional[int] = ..., next_start_ms: _Optional[int] = ..., last_exits: _Optional[_Iterable[_Union[Exit, _Mapping]]] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("at_ms", "how", "ran_ms", "last_line")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    RAN_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_LINE_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    how: str
    ran_ms: int
    last_line: str
    def __init__(self, at_ms: _Optional[int] = ..., how: _Optional[str] = ..., ran_ms: _Optional[int] = ..., last_line: _Optional[str] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("kind", "text", "since_ms", "blocks", "cause")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    since_ms: int
    blocks: bool
    cause: str
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., since_ms: _Optional[int] = ..., blocks: _Optional[bool] = ..., cause: _Optional[str] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("process_id", "instance", "pid", "partitions", "spare", "client", "lambda_version", "connected_since_ms", "last_seen_ms", "peer", "identity", "sent_per_second", "done_per_second")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SPARE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    LAMBDA_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_MS_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SENT_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DONE_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    process_id: str
    instance: str
    pid: int
    partitions: int
    spare: bool
    client: str
    lambda_version: str
    connected_since_ms: int
    last_seen_ms: int
    peer: str
    identity: str
    sent_per_second: float
    done_per_second: float
    def __init__(self, process_id: _Optional[str] = ..., instance: _Optional[str] = ..., pid: _Optional[int] = ..., partitions: _Optional[int] = ..., spare: _Optional[bool] = ..., client: _Optional[str] = ..., lambda_version: _Optional[str] = ..., connected_since_ms: _Optional[int] = ..., last_seen_ms: _Optional[int] = ..., peer: _Optional[str] = ..., identity: _Optional[str] = ..., sent_per_second: _Optional[float] = ..., done_per_second: _Optional[float] = ...) -> None: ...

class Partition(_message.Message):
    __slots__ = ("topic", "partition", "state", "process_id", "delivered", "handled", "checkpoint", "committed", "end", "outstanding", "waiting", "attempt", "reason", "failing_offset", "blocked_since_ms", "stalled_since_ms", "resumes_at_ms", "skipped_records", "skipping", "skipping_count", "state_since_ms", "lease_since_ms", "oldest_outstanding_ms", "outstanding_bytes", "waiting_bytes", "sent_per_second", "done_per_second", "last_error", "waits_for", "next_retry_at_ms", "progress_at_ms", "handled_at_ms", "lane", "lanes", "progress", "overdue_at_ms", "state_bytes")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    HANDLED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FAILING_OFFSET_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    STALLED_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    RESUMES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    SKIPPING_FIELD_NUMBER: _ClassVar[int]
    SKIPPING_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_OUTSTANDING_MS_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAITING_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DONE_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    NEXT_RETRY_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_AT_MS_FIELD_NUMBER: _ClassVar[int]
    HANDLED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OVERDUE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    state: PartitionState
    process_id: str
    delivered: int
    handled: int
    checkpoint: int
    committed: int
    end: int
    outstanding: int
    waiting: int
    attempt: int
    reason: str
    failing_offset: int
    blocked_since_ms: int
    stalled_since_ms: int
    resumes_at_ms: int
    skipped_records: int
    skipping: _containers.RepeatedScalarFieldContainer[str]
    skipping_count: int
    state_since_ms: int
    lease_since_ms: int
    oldest_outstanding_ms: int
    outstanding_bytes: int
    waiting_bytes: int
    sent_per_second: float
    done_per_second: float
    last_error: Failure
    waits_for: WaitsFor
    next_retry_at_ms: int
    progress_at_ms: int
    handled_at_ms: int
    lane: int
    lanes: int
    progress: str
    overdue_at_ms: int
    state_bytes: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., state: _Optional[_Union[PartitionState, str]] = ..., process_id: _Optional[str] = ..., delivered: _Optional[int] = ..., handled: _Optional[int] = ..., checkpoint: _Optional[int] = ..., committed: _Optional[int] = ..., end: _Optional[int] = ..., outstanding: _Optional[int] = ..., waiting: _Optional[int] = ..., attempt: _Optional[int] = ..., reason: _Optional[str] = ..., failing_offset: _Optional[int] = ..., blocked_since_ms: _Optional[int] = ..., stalled_since_ms: _Optional[int] = ..., resumes_at_ms: _Optional[int] = ..., skipped_records: _Optional[int] = ..., skipping: _Optional[_Iterable[str]] = ..., skipping_count: _Optional[int] = ..., state_since_ms: _Optional[int] = ..., lease_since_ms: _Optional[int] = ..., oldest_outstanding_ms: _Optional[int] = ..., outstanding_bytes: _Optional[int] = ..., waiting_bytes: _Optional[int] = ..., sent_per_second: _Optional[float] = ..., done_per_second: _Optional[float] = ..., last_error: _Optional[_Union[Failure, _Mapping]] = ..., waits_for: _Optional[_Union[WaitsFor, str]] = ..., next_retry_at_ms: _Optional[int] = ..., progress_at_ms: _Optional[int] = ..., handled_at_ms: _Optional[int] = ..., lane: _Optional[int] = ..., lanes: _Optional[int] = ..., progress: _Optional[str] = ..., overdue_at_ms: _Optional[int] = ..., state_bytes: _Optional[int] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("at_ms", "text", "offset", "kind")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    text: str
    offset: int
    kind: FailureKind
    def __init__(self, at_ms: _Optional[int] = ..., text: _Optional[str] = ..., offset: _Optional[int] = ..., kind: _Optional[_Union[FailureKind, str]] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("lambda_name", "topic", "partition", "skip", "lane")
    LAMBDA_NAME_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    lambda_name: str
    topic: str
    partition: int
    skip: bool
    lane: int
    def __init__(self, lambda_name: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., skip: _Optional[bool] = ..., lane: _Optional[int] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("from_offset", "skipped")
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    from_offset: int
    skipped: int
    def __init__(self, from_offset: _Optional[int] = ..., skipped: _Optional[int] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("lambda_name", "topic", "partition", "reason", "lane")
    LAMBDA_NAME_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    lambda_name: str
    topic: str
    partition: int
    reason: str
    lane: int
    def __init__(self, lambda_name: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., reason: _Optional[str] = ..., lane: _Optional[int] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ("from_offset",)
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    from_offset: int
    def __init__(self, from_offset: _Optional[int] = ...) -> None: ...

class SeekRequest(_message.Message):
    __slots__ = ("lambda_name", "topic", "partition", "offset", "timestamp_ms", "edge", "lane")
    LAMBDA_NAME_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    lambda_name: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    edge: Edge
    lane: int
    def __init__(self, lambda_name: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., edge: _Optional[_Union[Edge, str]] = ..., lane: _Optional[int] = ...) -> None: ...

class SeekResponse(_message.Message):
    __slots__ = ("from_offset", "was_at", "state")
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    WAS_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    from_offset: int
    was_at: int
    state: PartitionState
    def __init__(self, from_offset: _Optional[int] = ..., was_at: _Optional[int] = ..., state: _Optional[_Union[PartitionState, str]] = ...) -> None: ...
