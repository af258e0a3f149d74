"""The limits in a Welcome, each from the constant that is enforced."""

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config import kafka_properties
from sidecar.partitions.vocabulary import Limits
from sidecar.producing import lambda_producer
from sidecar.server import arrivals, frames, producing

MAX_STREAMS_PER_CONNECTION = 128
"""Calls and streams under way on one connection; the contract says at most 64. Further ones wait in the client."""

PING_INTERVAL_MS = 1_000
"""The least time between keep-alive pings of a client; gRPC ends the connection of one that pings more often."""

IDLE_TIMEOUT_MS = 60_000
"""After this time gRPC ends a connection without any call."""

_PARTITIONS = Limits()
"""The config sets none of the two times that are told: each lambda has the defaults."""


def limits(spares_of_process: int, spares_of_lambda: int) -> pb.Limits:
    """The limits of a Welcome. The arguments are the numbers of spare streams that may be open."""
    return pb.Limits(
        max_request_bytes=arrivals.MAX_REQUEST_BYTES,
        max_checkpoint_entries=frames.MAX_ENTRIES,
        max_produce_records=producing.MAX_RECORDS,
        max_produce_topics=producing.MAX_TOPICS,
        max_producing_records=lambda_producer.MAX_RECORDS,
        max_producing_bytes=lambda_producer.MAX_BYTES,
        produce_timeout_ms=kafka_properties.DELIVERY_TIMEOUT_MS,
        offer_timeout_ms=_ms(arrivals.OFFER_TIMEOUT_S),
        request_timeout_ms=_ms(arrivals.REQUEST_TIMEOUT_S),
        ready_timeout_ms=_ms(_PARTITIONS.ready_timeout),
        close_timeout_ms=_ms(_PARTITIONS.close_timeout),
        max_streams_per_connection=MAX_STREAMS_PER_CONNECTION,
        max_offering_streams_per_connection=arrivals.MAX_SILENT_PER_CONNECTION,
        max_spare_streams_per_process=spares_of_process,
        max_spare_streams_per_lambda=spares_of_lambda,
        min_ping_interval_ms=PING_INTERVAL_MS,
        idle_timeout_ms=IDLE_TIMEOUT_MS,
        max_held_records=producing.MAX_HELD_RECORDS,
        max_held_bytes=producing.MAX_HELD_BYTES,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
