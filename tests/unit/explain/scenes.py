"""One scene for each cause: the snapshot of a sidecar in which it is the most urgent one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sdk_python.protocol import admin_pb2 as pb
from sidecar.causes import Cause

NOW = int(datetime(2026, 11, 24, 14, 11, 11, tzinfo=UTC).timestamp() * 1000)
SECOND, MINUTE = 1_000, 60_000

RUNNING, WAITING, HALTED = pb.PARTITION_STATE_RUNNING, pb.PARTITION_STATE_WAITING, pb.PARTITION_STATE_HALTED
PAUSED, STARTING = pb.PARTITION_STATE_PAUSED, pb.PARTITION_STATE_STARTING
RESOLVING, DRAINING = pb.PARTITION_STATE_RESOLVING, pb.PARTITION_STATE_DRAINING
BACKING_OFF = pb.PARTITION_STATE_BACKING_OFF


def ago(milliseconds: int) -> int:
    """The time that was so long before `NOW`."""
    return NOW - milliseconds


def process(number: int = 2, **fields: Any) -> pb.Process:
    """A lambda process."""
    known = {"instance": f"billing-{number}", "pid": 4709 + number, "last_seen_ms": ago(200), "partitions": 1}
    return pb.Process(process_id=f"p{number}", **{**known, **fields})


def partition(number: int = 7, **fields: Any) -> pb.Partition:
    """A partition of `orders`, by default one that runs and has nothing to do."""
    known = {
        "topic": "orders",
        "state": RUNNING,
        "process_id": "p2",
        "state_since_ms": ago(60 * MINUTE),
        "attempt": 1,
    }
    known |= {"checkpoint": 8812, "committed": 8813, "end": 8813, "delivered": 8812, "handled": 8812}
    known["waits_for"] = pb.WAITS_FOR_RECORDS
    given = {**known, **fields}
    return pb.Partition(partition=number, **{name: value for name, value in given.items() if value is not None})


def unheld(number: int = 7, **fields: Any) -> pb.Partition:
    """A partition that no process has."""
    return partition(number, **{"process_id": "", "delivered": None, "handled": None, **fields})


def lambda_(*partitions: pb.Partition, **fields: Any) -> pb.Lambda:
    """The lambda `billing` with one process, connected and in its group."""
    known = {"name": "billing", "group": "billing", "topics": ["orders"], "connected": True, "joined": True}
    known["processes"] = [process()]
    return pb.Lambda(partitions=partitions, **{**known, **fields})


def status(*lambdas: pb.Lambda, **fields: Any) -> pb.StatusResponse:
    """A sidecar with these lambdas."""
    known = {"version": "0.1.0", "started_at_ms": ago(120 * MINUTE), "now_ms": NOW, "bootstrap_servers": "kafka:9092"}
    return pb.StatusResponse(lambdas=lambdas, **{**known, **fields})


def one(**fields: Any) -> pb.StatusResponse:
    """One partition with these fields."""
    return status(lambda_(partition(**fields)))


def problem(kind: str, cause: str, text: str, *partitions: pb.Partition, **fields: Any) -> pb.StatusResponse:
    """A lambda with a problem."""
    known = {"since_ms": ago(9 * MINUTE), "blocks": True}
    problems = [pb.Problem(kind=kind, cause=cause, text=text, **{**known, **fields})]
    return status(lambda_(*partitions, problems=problems, connected=kind != "connection"))


def failure(kind: pb.FailureKind, text: str) -> pb.Failure:
    """The last failure of a partition."""
    return pb.Failure(at_ms=ago(20 * SECOND), text=text, kind=kind)


def halted(reason: str, kind: pb.FailureKind = pb.FAILURE_KIND_CRITICAL, **fields: Any) -> pb.StatusResponse:
    """A partition that is halted at offset 8813."""
    known = {
        "state": HALTED,
        "reason": reason,
        "failing_offset": 8813,
        "end": 10_017,
        "last_error": failure(kind, reason),
    }
    known |= {"state_since_ms": ago(9 * MINUTE), "waits_for": pb.WAITS_FOR_RESUME}
    return status(lambda_(unheld(**{**known, **fields})))


def crashing(number: int = 0, failures: int = 4) -> pb.Supervised:
    """A process that the sidecar runs, and that ends again and again."""
    end = pb.Exit(at_ms=ago(2 * SECOND), how="ended with exit code 1", ran_ms=1_200, last_line="KeyError: 'id'")
    return pb.Supervised(
        instance=number, program="python", failures=failures, next_start_ms=NOW + 3 * SECOND, last_exits=[end]
    )


_OUTSTANDING = {"outstanding": 12, "delivered": 8824, "end": 8825, "oldest_outstanding_ms": ago(9 * MINUTE)}
_FULL = {
    "outstanding": 10_000,
    "delivered": 18_812,
    "handled": 8_812,
    "end": 10_017,
    "progress_at_ms": ago(9 * MINUTE),
    "blocked_since_ms": ago(9 * MINUTE),
    "stalled_since_ms": ago(9 * MINUTE),
    "waits_for": pb.WAITS_FOR_CHECKPOINT,
}
_WRITE = "the dead letter for offset 8813 cannot be written: Broker: Message size too large"
_LOST = "the log no longer has offset 8813: it begins at 9000"
_MISSED = "neither a checkpoint nor progress for 300 s (`deadline`)"

SCENES: dict[Cause, Callable[[], pb.StatusResponse]] = {
    Cause.SIDECAR_FAULT: lambda: problem(
        "sidecar", "sidecar-fault", "the topic watch ended: KeyError: 'orders'", partition()
    ),
    Cause.SIDECAR_ENDS: lambda: status(lambda_(partition()), draining=True),
    Cause.CONNECTING: lambda: problem(
        "connection", "connecting", "not connected to Kafka yet", since_ms=ago(2 * SECOND)
    ),
    Cause.KAFKA_AWAY: lambda: problem(
        "connection", "kafka-away", "Kafka cannot be reached: kafka:9092: Connection refused", partition(end=9000)
    ),
    Cause.WRONG_CREDENTIALS: lambda: problem(
        "connection",
        "wrong-credentials",
        "Kafka cannot be reached: Authentication failed; look at sasl.mechanism, sasl.username, sasl.password and "
        "security.protocol",
    ),
    Cause.TLS_FAILED: lambda: problem(
        "connection",
        "tls-failed",
        "Kafka cannot be reached: certificate verify failed; look at security.protocol, ssl.ca.location and the "
        "other ssl properties",
    ),
    Cause.HOST_UNKNOWN: lambda: problem(
        "connection",
        "host-unknown",
        "Kafka cannot be reached: kafka:9092: Name or service not known; look at bootstrap.servers, and at "
        "advertised.listeners of the broker",
    ),
    Cause.BROKER_AWAY: lambda: problem(
        "broker", "broker-away", "a broker cannot be reached: kafka-3:9092: Name not known", partition(), blocks=False
    ),
    Cause.CLIENT_FAILED: lambda: problem(
        "client", "client-failed", "Kafka's client failed for good, and is made anew until it works: fenced"
    ),
    Cause.GROUP_REFUSED: lambda: problem(
        "group", "group-refused", "Kafka refuses us in group billing: Broker: Inconsistent group protocol"
    ),
    Cause.NOT_AUTHORISED: lambda: problem(
        "group", "not-authorised", "Kafka refuses us in group billing: Broker: Group authorization failed"
    ),
    Cause.TOPIC_MISSING: lambda: problem("topics", "topic-missing", "missing topics: orders", blocks=False),
    Cause.TOPIC_REFUSED: lambda: problem("topics", "topic-refused", "topic orders: Broker: Invalid topic"),
    Cause.COMMIT_REFUSED: lambda: problem(
        "commit:orders/7",
        "commit-refused",
        "Kafka refuses commits of orders/7: Broker: Offset metadata too large",
        partition(),
    ),
    Cause.TRANSACTIONS_REFUSED: lambda: problem(
        "transactions",
        "transactions-refused",
        "Kafka refuses transactions: Broker: Not enough in-sync replicas",
        partition(),
        blocks=False,
    ),
    Cause.REBALANCING: lambda: status(lambda_(joined=False)),
    Cause.NO_PARTITIONS: lambda: status(lambda_()),
    Cause.NO_LEADER: lambda: status(
        lambda_(unheld(state=RESOLVING, waits_for=pb.WAITS_FOR_LEADER, reason="no broker leads the partition"))
    ),
    Cause.PROCESS_ENDS: lambda: status(lambda_(partition(), supervised=[crashing()])),
    Cause.NO_PROCESS: lambda: status(
        lambda_(
            *(unheld(n, state=WAITING, state_since_ms=ago(9 * MINUTE), end=9000) for n in range(64)), processes=[]
        )
    ),
    Cause.NO_SPARE_STREAM: lambda: status(lambda_(unheld(state=WAITING, state_since_ms=ago(40 * SECOND)))),
    Cause.HALTED: lambda: halted("ValueError: cannot read message 8813"),
    Cause.UNDELIVERABLE: lambda: halted("a header name is not UTF-8", pb.FAILURE_KIND_UNDELIVERABLE),
    Cause.DEAD_LETTER_FAILED: lambda: halted(_WRITE, pb.FAILURE_KIND_DEAD_LETTER),
    Cause.DEAD_LETTER_WAITS: lambda: one(
        waits_for=pb.WAITS_FOR_DEAD_LETTER,
        state_since_ms=ago(3 * SECOND),
        reason="waits for the dead letter of offset 8813 to be written",
    ),
    Cause.OFFSET_LOST: lambda: halted(_LOST, pb.FAILURE_KIND_OFFSET_LOST, failing_offset=None),
    Cause.WINDOW_FULL: lambda: one(**_FULL),
    Cause.HANDLER_BLOCKS: lambda: one(
        **_OUTSTANDING,
        stalled_since_ms=ago(9 * MINUTE),
        progress_at_ms=ago(9 * MINUTE),
        handled=8815,
        handled_at_ms=ago(8 * MINUTE),
    ),
    Cause.NO_CHECKPOINT: lambda: one(**_OUTSTANDING, stalled_since_ms=ago(9 * MINUTE), handled=8824),
    Cause.BACKING_OFF: lambda: status(
        lambda_(
            unheld(
                state=BACKING_OFF,
                state_since_ms=ago(20 * SECOND),
                attempt=5,
                reason="ConnectionError: the store is away",
                end=9000,
                last_error=failure(pb.FAILURE_KIND_FAILED, "ConnectionError: the store is away"),
                next_retry_at_ms=NOW + 4 * SECOND,
            )
        )
    ),
    Cause.DEADLINE: lambda: status(
        lambda_(
            unheld(
                state=BACKING_OFF,
                state_since_ms=ago(20 * SECOND),
                attempt=3,
                reason=_MISSED,
                end=9000,
                last_error=failure(pb.FAILURE_KIND_DEADLINE, _MISSED),
                next_retry_at_ms=NOW + 4 * SECOND,
            )
        )
    ),
    Cause.PAUSED_BY_OPERATOR: lambda: status(
        lambda_(unheld(state=PAUSED, state_since_ms=ago(9 * MINUTE), reason="database migration", end=10_017))
    ),
    Cause.PAUSED_BY_LAMBDA: lambda: one(
        state=PAUSED,
        state_since_ms=ago(9 * MINUTE),
        reason="the store is away",
        end=10_017,
        resumes_at_ms=NOW + 20 * SECOND,
    ),
    Cause.DRAINING: lambda: one(state=DRAINING, state_since_ms=ago(2 * SECOND)),
    Cause.RESOLVING: lambda: status(lambda_(unheld(state=RESOLVING, state_since_ms=ago(2 * SECOND)))),
    Cause.STARTING: lambda: one(state=STARTING, state_since_ms=ago(40 * SECOND)),
    Cause.CORRUPT_DOCUMENTS: lambda: one(skipping=["doc-1", "doc-2"], skipping_count=2, skipped_records=31),
    Cause.BEHIND: lambda: one(end=10_017, outstanding=40, done_per_second=402.4),
    Cause.NOTHING_TO_DO: lambda: status(lambda_(*(partition(number) for number in range(8)))),
    Cause.OTHER: lambda: one(state=99),
}
