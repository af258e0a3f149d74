"""Records that the lambda produced: read from a request, and answered."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice

from sdk_python.protocol import lambda_pb2 as pb


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that the lambda produced."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    partition: int | None
    """As the lambda asked for it; None: chosen by the key."""


def sent_by(request: pb.ProduceRequest) -> list[Sent]:
    """Make the records of a request from its columns."""

    def column(entries: Sequence[bytes], nulls: Container[int], count: int) -> list[bytes | None]:
        return [None if index in nulls else entry for index, entry in enumerate(entries)] or [None] * count

    count = len(request.values)
    indexes = request.topic_indexes or [0] * count
    headers = iter(
        zip(
            [name.decode("utf-8", "surrogateescape") for name in request.header_names],
            column(request.header_values, set(request.null_header_values), 0),
            strict=True,
        )
    )
    return [
        Sent(
            request.topics[topic],
            value,
            key,
            tuple(islice(headers, number)),
            partition if partition >= 0 else None,
        )
        for topic, value, key, number, partition in zip(
            indexes,
            column(request.values, {*request.null_values}, count),
            column(request.keys, {*request.null_keys}, count),
            request.header_counts or [0] * count,
            request.partitions or [-1] * count,
            strict=True,
        )
    ]


def all_alike(
    count: int, outcome: pb.ProduceOutcome, error: str = "", commit: pb.CheckpointResult | None = None
) -> pb.ProduceResponse:
    """The answer that has one outcome for all records, none of which has an offset."""
    return pb.ProduceResponse(
        outcomes=[outcome] * count,
        partitions=[-1] * count,
        offsets=[-1] * count,
        errors=[error] * count if error else (),
        commit=commit,
    )
