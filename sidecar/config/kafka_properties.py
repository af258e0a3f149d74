"""Kafka properties: which ones a user may set, and the properties of each of the sidecar's clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from sidecar.config.kafka_names import SHARED

if TYPE_CHECKING:  # the config's models import this module: at run time the import goes one way only
    from sidecar.config.lambdas import LambdaConfig

Property = str | int | float | bool

EMBEDDED = "embedded"
"""The value of `bootstrap.servers` that starts the embedded broker; `embedded:PORT` says on which port."""

CLIENT_ID = "kafka-sidecar"

# librdkafka stops fetching for this long when its local queue is full. With its default of 1000 ms the throughput
# collapses in bursts; a few milliseconds keep the queue filled.
FETCH_QUEUE_BACKOFF_MS = 2

# How much librdkafka fetches ahead. A pause throws a partition's prefetched records away, and a resume fetches them
# again: so prefetching more than one window does not pay. 16 MiB is the window's default size.
PREFETCH_KBYTES = 16_384
# The size of one fetch response, which stays in memory until its last record is sent. librdkafka's default of 50 MiB
# takes 80 MB more with 64 partitions, and is no faster.
MAX_FETCH_BYTES = 8 * 1024 * 1024
# librdkafka refuses a `fetch.max.bytes` that does not lie between these two.
BOUND_TO_FETCH = frozenset({"message.max.bytes", "receive.message.max.bytes"})
# Prefetching fewer messages than this costs more round trips than it saves memory, however small the window is ...
MIN_PREFETCHED_MESSAGES = 1_000
# ... and more than librdkafka's own default gains nothing.
MAX_PREFETCHED_MESSAGES = 100_000

# After a resume or seek, a partition is fetched once the broker has answered the request for the others, which takes
# this long when they have no records. librdkafka's default is 500 ms; ten requests a second cost next to nothing.
FETCH_WAIT_MS = 100

# The embedded broker answers an idle fetch only when this time is over: with 100 ms a lone record is 98 ms late,
# with 10 ms it is 3 ms late.
EMBEDDED_FETCH_WAIT_MS = 10

# The embedded broker admits a new member after half of its session timeout: with librdkafka's default of 45 s a demo
# would begin with a pause of 23 s.
EMBEDDED_SESSION_MS = 2_000
EMBEDDED_HEARTBEAT_MS = 500

# A topic or partition that is created later is consumed after the client's next metadata refresh. librdkafka's
# default is 5 minutes.
TOPICS_REFRESH_MS = 1_000

DELIVERY_TIMEOUT_MS = 60_000
"""A produced record fails after this time: a broker that restarts is back by then."""

TOPIC_MISSING_MS = 5_000
"""A record for a topic that the broker does not know fails after this time: all brokers know a new topic by then.
librdkafka's default of 30 s is for clusters with ZooKeeper."""

TRANSACTION_TIMEOUT_MS = 10_000
"""The broker aborts a transaction that is open for so long. Until then nobody can read what was written after it, and
the next owner of its partitions waits, if the sidecar that began it has died."""

_MAKES_TOPICS = "allow.auto.create.topics"

LAMBDA_PRODUCER_LINGER_MS = 1
"""How long a lambda's record waits for others to share its batch: as a rule they come together."""

MAX_MESSAGE_BYTES = 1_000_000_000
"""The largest `message.max.bytes` that librdkafka accepts."""

ASSIGNOR = "partition.assignment.strategy"
PROTOCOL = "group.protocol"


def is_embedded(servers: Any) -> bool:
    """Whether this value of `bootstrap.servers` asks for the embedded broker."""
    return isinstance(servers, str) and (servers == EMBEDDED or servers.startswith(f"{EMBEDDED}:"))


def embedded_port(servers: str) -> int | None:
    """The port in `embedded:PORT`; None: any free port."""
    _, colon, port = servers.partition(":")
    return int(port) if colon else None


def as_text(value: Property) -> str:
    """A value as the text that librdkafka takes; booleans are `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def normalised(properties: Mapping[Any, Any]) -> dict[str, str]:
    """The usable entries of a user's Kafka properties as texts; `kafka_mistakes.problems` reports the others."""
    return {n: as_text(v) for n, v in properties.items() if isinstance(n, str) and isinstance(v, Property)}


def consumer_properties(
    kafka: Mapping[str, str], lambda_config: LambdaConfig, bootstrap: str | None = None
) -> dict[str, Property]:
    """The properties of one lambda's consumer.

    Args:
        kafka: the config's `kafka` section. Its values win unless the sidecar sets the property itself. A librdkafka
            default is never restated: some of them, set explicitly, forbid `group.protocol=consumer`.
        lambda_config: gives the group, and the window, whose size decides how much is prefetched.
        bootstrap: the embedded broker's address, instead of `embedded`.
    """
    properties = built(kafka, lambda_config.group, lambda_config.window.messages)
    if bootstrap is not None:
        properties["bootstrap.servers"] = bootstrap
    return properties


def producer_properties(kafka: Mapping[str, str], bootstrap: str | None = None) -> dict[str, Property]:
    """The properties of the dead-letter producer: those that consumers and producers share, and its own.

    Args:
        kafka: the config's `kafka` section.
        bootstrap: the embedded broker's address, instead of `embedded`.
    """
    properties = admin_properties(kafka, bootstrap)
    # The producer must be able to write every record that the broker accepted before: only the broker's own limit
    # counts. That limit is for the batch as it is stored, so batches are compressed.
    properties |= {"message.max.bytes": MAX_MESSAGE_BYTES, "compression.type": "zstd"}
    properties |= {"enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": DELIVERY_TIMEOUT_MS}
    # A topic that the broker creates by itself would have the broker's defaults for partitions and retention.
    return properties | {_MAKES_TOPICS: False, "topic.metadata.propagation.max.ms": TOPIC_MISSING_MS}


def admin_properties(kafka: Mapping[str, str], bootstrap: str | None = None) -> dict[str, Property]:
    """The properties of the `AdminClient`: those that consumers and producers share.

    Args:
        kafka: the config's `kafka` section.
        bootstrap: the embedded broker's address, instead of `embedded`.
    """
    properties: dict[str, Property] = {"client.id": CLIENT_ID}
    properties |= {name: value for name, value in kafka.items() if name.startswith(SHARED)}
    if bootstrap is not None:
        properties["bootstrap.servers"] = bootstrap
    return properties


def offsets_properties(consumer: Mapping[str, Property]) -> dict[str, Property]:
    """The properties of a client that asks for a group's committed offsets and never joins the group.

    Args:
        consumer: the properties of the group's consumer.
    """
    wanted = ("group.id", "client.id", "isolation.level")
    return {name: value for name, value in consumer.items() if name in wanted or name.startswith(SHARED)}


def lambda_producer_properties(kafka: Mapping[str, str], bootstrap: str | None = None) -> dict[str, Property]:
    """The properties of the producer for a lambda's own records: `producer_properties`, tuned for many records.

    The partitioner is the Java client's. Batches are compressed with lz4, which costs the least CPU time. As for
    consumers, the broker creates topics only if the config says so.
    """
    properties = producer_properties(kafka, bootstrap)
    if _MAKES_TOPICS in kafka:
        properties[_MAKES_TOPICS] = kafka[_MAKES_TOPICS]
    return properties | {
        "partitioner": "murmur2_random",
        "linger.ms": LAMBDA_PRODUCER_LINGER_MS,
        "compression.type": "lz4",
    }


def transactional_properties(
    kafka: Mapping[str, str], name: str, lambda_config: LambdaConfig, unique: str, bootstrap: str | None = None
) -> dict[str, Property]:
    """The properties of the transactional producer of one lambda with `guarantee: exactly-once`.

    With static membership the `transactional.id` is the same after a restart, so that the broker then aborts at once
    what the last process left open. Without it nobody else has this sidecar's place, and ``unique`` ends the id.

    Args:
        kafka: the config's `kafka` section.
        name: the lambda's.
        lambda_config: gives the group and the prefix of the id.
        unique: a text that no other sidecar has.
        bootstrap: a broker's address, instead of the one in ``kafka``.
    """
    member = kafka.get("group.instance.id") or unique
    return lambda_producer_properties(kafka, bootstrap) | {
        "transactional.id": f"{lambda_config.transactional_id_prefix}-{lambda_config.group}-{name}-{member}",
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": TRANSACTION_TIMEOUT_MS,  # librdkafka refuses a longer one
    }


def rebalance_protocol(properties: Mapping[str, Property]) -> Literal["eager", "cooperative"]:
    """The rebalance protocol: eager moves all partitions at once, cooperative only those that change their owner.

    `group.protocol=consumer` (KIP-848) is cooperative by nature.
    """
    if str(properties.get(PROTOCOL, "")).lower() == "consumer":
        return "cooperative"
    return "cooperative" if "cooperative" in str(properties.get(ASSIGNOR, "")) else "eager"


def built(kafka: Mapping[str, str], group: str, window_messages: int) -> dict[str, Property]:
    """The properties of a consumer of ``group`` with the user's own; `bootstrap.servers` as it is in the config."""
    embedded = is_embedded(kafka.get("bootstrap.servers"))
    properties: dict[str, Property] = {
        "client.id": CLIENT_ID,
        "fetch.queue.backoff.ms": FETCH_QUEUE_BACKOFF_MS,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        "topic.metadata.refresh.interval.ms": TOPICS_REFRESH_MS,
        "queued.max.messages.kbytes": PREFETCH_KBYTES,
        "queued.min.messages": min(MAX_PREFETCHED_MESSAGES, max(MIN_PREFETCHED_MESSAGES, window_messages)),
    }
    if not BOUND_TO_FETCH.intersection(kafka):
        properties["fetch.max.bytes"] = MAX_FETCH_BYTES
    if embedded:
        properties |= {
            "fetch.wait.max.ms": EMBEDDED_FETCH_WAIT_MS,
            "session.timeout.ms": EMBEDDED_SESSION_MS,
            "heartbeat.interval.ms": EMBEDDED_HEARTBEAT_MS,
        }
    elif ASSIGNOR not in kafka and PROTOCOL not in kafka:
        properties[ASSIGNOR] = "cooperative-sticky"
    properties.update(kafka)
    # Set last: the sidecar alone commits offsets, whatever the config says. `error`: the sidecar itself resolves an
    # offset that does not exist, so records are never skipped silently. It subscribes to topics that are there, and
    # now and then to one that must not come to be (`Membership.ask_for_rebalance`).
    properties |= {
        _MAKES_TOPICS: False,
        "group.id": group,
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    return properties
