"""Kafka properties: which ones a user may set, and the properties of each of the sidecar's clients."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sidecar.config.kafka_names import CALLBACK, OFTEN_USED, OWNED, SHARED

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

_MAKES_TOPICS = "allow.auto.create.topics"

LAMBDA_PRODUCER_LINGER_MS = 1
"""How long a lambda's record waits for others to share its batch: as a rule they come together."""

MAX_MESSAGE_BYTES = 1_000_000_000
"""The largest `message.max.bytes` that librdkafka accepts."""

_ASSIGNOR = "partition.assignment.strategy"
_PROTOCOL = "group.protocol"


class Problem(NamedTuple):
    """One mistake in the Kafka properties."""

    name: str
    """The property's name; empty when the properties as a whole are wrong."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.message}" if self.name else self.message
        return f"{text}; {self.hint}" if self.hint else text


def check(properties: Mapping[Any, Any]) -> list[str]:
    """All mistakes in a user's Kafka properties, as texts. No connection is made."""
    return [str(problem) for problem in problems(properties)]


def problems(properties: Mapping[Any, Any]) -> list[Problem]:
    """All mistakes in a user's Kafka properties (values as YAML gives them); no connection is made.

    librdkafka itself checks names and values, and reads the certificates and keys that they name.
    """
    found: list[Problem] = []
    good: dict[str, str] = {}
    for name, value in properties.items():
        problem = _refused(name, value)
        if problem:
            found.append(problem)
        else:
            good[name] = as_text(value)
    found += _servers(properties)
    if is_embedded(properties.get("bootstrap.servers")):
        found += _embedded(good)
    wrong = {problem.name for problem in found}  # reported already: librdkafka would report them again
    return found + _rejected({name: value for name, value in good.items() if name not in wrong})


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
    """The usable entries of a user's Kafka properties as texts; `problems` reports the others."""
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
    properties = _build(kafka, lambda_config.group, lambda_config.window.messages)
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


def rebalance_protocol(properties: Mapping[str, Property]) -> Literal["eager", "cooperative"]:
    """The rebalance protocol: eager moves all partitions at once, cooperative only those that change their owner.

    `group.protocol=consumer` (KIP-848) is cooperative by nature.
    """
    if str(properties.get(_PROTOCOL, "")).lower() == "consumer":
        return "cooperative"
    return "cooperative" if "cooperative" in str(properties.get(_ASSIGNOR, "")) else "eager"


def _build(kafka: Mapping[str, str], group: str, window_messages: int) -> dict[str, Property]:
    embedded = is_embedded(kafka.get("bootstrap.servers"))
    properties: dict[str, Property] = {
        "client.id": CLIENT_ID,
        "allow.auto.create.topics": False,
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
    elif _ASSIGNOR not in kafka and _PROTOCOL not in kafka:
        properties[_ASSIGNOR] = "cooperative-sticky"
    properties.update(kafka)
    # Set last: the sidecar alone commits offsets, whatever the config says. `error`: the sidecar itself resolves an
    # offset that does not exist, so records are never skipped silently.
    properties |= {
        "group.id": group,
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    return properties


def _refused(name: Any, value: Any) -> Problem | None:
    """The mistake in one property that we find before we ask librdkafka."""
    if not isinstance(name, str):
        return Problem(str(name), f"a property's name must be text, this is {name!r}", "put it in quotes")
    if name in OWNED or name.endswith("_cb"):
        return Problem(name, "the sidecar sets this one itself", OWNED.get(name, CALLBACK))
    if isinstance(value, Mapping):
        inner = next(iter(value), "...")
        return Problem(name, "expected a value, not a mapping", f"write the name in one piece: {name}.{inner}")
    if isinstance(value, list | tuple):
        return Problem(name, "expected a value, not a list", 'write one text with commas: "a,b"')
    if not isinstance(value, Property):
        return Problem(name, f"expected a text, a number or a boolean, not {_kind(value)}")
    is_cut = "\0" in f"{name}{value}"
    return Problem(name, "has a NUL in it, where Kafka's client library would cut it off") if is_cut else None


def _servers(properties: Mapping[Any, Any]) -> list[Problem]:
    name = "bootstrap.servers"
    servers = properties.get(name)
    example = "for example localhost:9092, or embedded for a broker that the sidecar starts itself"
    if name not in properties or servers == "":
        return [Problem(name, "missing: where is Kafka?", example)]
    if not isinstance(servers, str) or servers == EMBEDDED:
        return []
    if is_embedded(servers):
        port = servers.removeprefix(f"{EMBEDDED}:")
        good = _is_port(port)
        return [] if good else [Problem(name, f"{servers!r} has no valid port", "for example embedded:19092")]
    found = []
    for server in servers.split(","):
        _, colon, port = server.strip().rpartition(":")
        if not server.strip():
            found.append(Problem(name, f"an empty entry in {servers!r}", "host:port, separated by commas"))
        elif server.count(":") > 1 and "[" not in server and "://" not in server:
            hint = "an IPv6 address needs brackets, as in [::1]:9092"
            found.append(Problem(name, f"{server.strip()!r} is no host:port", hint))
        elif colon and not server.strip().endswith("]") and not _is_port(port):
            found.append(Problem(name, f"{server.strip()!r} has no valid port", example))
    return found


def _is_port(text: str) -> bool:
    """Whether this is the number of a port that can be dialled."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536


def _embedded(good: Mapping[str, str]) -> list[Problem]:
    """Properties that the embedded broker does not support: its members would wait for partitions for ever."""
    found = []
    if good.get(_PROTOCOL, "classic").lower() != "classic":
        found.append(Problem(_PROTOCOL, "the embedded broker knows `classic` only", "leave it out"))
    if good.get(_ASSIGNOR, "range") != "range":
        found.append(Problem(_ASSIGNOR, "the embedded broker knows `range` only", "leave it out"))
    return found


# librdkafka's messages name the property on the left when the user wrote the property on the right.
_ALIASES = {"fetch.message.max.bytes": "max.partition.fetch.bytes", "sasl.mechanisms": "sasl.mechanism"}
_NAMED = re.compile(r'property: "(?P<unknown>.*)"|property "(?P<name>.*?)"')


def _rejected(good: Mapping[str, str]) -> list[Problem]:
    """The mistakes that librdkafka finds. It stops at the first, so we remove that property and ask again."""
    from confluent_kafka import Consumer, KafkaException  # noqa: PLC0415 - `status` and `--help` need no client

    quiet = logging.getLogger("sidecar.config.kafka_properties")
    quiet.propagate = False  # the exception has the same text
    quiet.addHandler(logging.NullHandler())
    trial = _build(good, "check", MIN_PREFETCHED_MESSAGES)
    found: list[Problem] = []
    while True:
        trial.pop("bootstrap.servers", None)  # without a server there is nothing to connect to
        try:
            Consumer(trial, logger=quiet).close()
        except KafkaException as error:
            text = error.args[0].str().strip()
            match = _NAMED.search(text)
            named = (match["unknown"] or match["name"] or "") if match else ""
            name = next((n for n in (named, _ALIASES.get(named)) if n in good and n in trial), None)
            if name is None:  # about the properties as a whole: no single one can be removed
                return [*found, Problem("", _plain(text))]
            if match and match["unknown"]:
                found.append(Problem(name, "unknown property", _closest(name)))
            else:
                found.append(Problem(name, _plain(text)))
            del trial[name]
        except (TypeError, ValueError) as error:  # the binding's own checks, such as for a NUL in a text
            return [*found, Problem("", _plain(str(error)))]
        else:
            return found


def _plain(text: str) -> str:
    return f"Kafka's client library refuses it: {text.removeprefix('Failed to create consumer: ')}"


def _closest(name: str) -> str:
    close = difflib.get_close_matches(name, OFTEN_USED, n=1)
    return f"did you mean `{close[0]}`?" if close else "librdkafka's CONFIGURATION.md lists them all"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
