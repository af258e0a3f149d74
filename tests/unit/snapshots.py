"""Snapshots for tests: of a sidecar with what they name, and defaults for the rest."""

from collections.abc import Mapping
from typing import Any

from sidecar.partitions.vocabulary import State, TopicPartition
from sidecar.status import LambdaStatus, PartitionStatus, SidecarStatus


def partition_status(number: int = 0, **fields: Any) -> PartitionStatus:
    """A running partition of the topic ``raw``."""
    given: dict[str, Any] = {
        "tp": TopicPartition("raw", number),
        "state": State.RUNNING,
        "process_id": "p1",
        "delivered": 9,
        "handled": 8,
        "checkpoint": 7,
        "committed": 8,
        "end": 20,
        "outstanding": 2,
        "waiting": 3,
        "attempt": 1,
        "reason": "",
        "failing_offset": None,
        "blocked_since": None,
        "stalled_since": None,
        "resumes_at": None,
    }
    return PartitionStatus(**{**given, **fields})


def lambda_status(**fields: Any) -> LambdaStatus:
    """A lambda that is connected, without partitions."""
    given: dict[str, Any] = {
        "connected": True,
        "joined": True,
        "problems": [],
        "records_sent": 0,
        "records_fetched": 0,
        "dead_letters": 0,
        "hand_overs": 0,
        "reports": 0,
        "restarts": {},
        "processes": [],
        "partitions": [],
    }
    return LambdaStatus(**{**given, **fields})


def sidecar_status(lambdas: Mapping[str, LambdaStatus], **fields: Any) -> SidecarStatus:
    """A sidecar with these lambdas. Its monotonic clock began at the Unix epoch."""
    given: dict[str, Any] = {
        "version": "1.2.3",
        "host": "here",
        "pid": 17,
        "bootstrap_servers": "broker:9092",
        "config_hash": "abc",
        "started_at": 0.0,
        "taken_at": 100.0,
        "wall_clock": 0.0,
        "memory_bytes": 0,
        "draining": False,
    }
    return SidecarStatus(**{**given, **fields}, lambdas=lambdas)
