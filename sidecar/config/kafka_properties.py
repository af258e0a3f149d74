"""Kafka properties: what a user may set, what is ours, and what a lambda's consumer is made with."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sidecar.config.kafka_names import CALLBACK, OFTEN_USED, OWNED, SHARED

if TYPE_CHECKING:  # the config's models call this module: at run time the arrow points one way only
    from sidecar.config.lambdas import LambdaConfig

Property = str | int | float | bool

EMBEDDED = "embedded"
"""The value of `bootstrap.servers` that starts a broker of our own; `embedded:PORT` says on which port."""

CLIENT_ID = "kafka-sidecar"

# librdkafka stops fetching for this long when its local queue is full. Its default of 1000 ms makes the
# throughput collapse in bursts; a few milliseconds keep the queue filled.
FETCH_QUEUE_BACKOFF_MS = 2

# How much librdkafka fetches ahead. A pause throws away what was fetched ahead of a partition, and it is
# fetched again on resume: so no more than one window is worth it. 16 MiB is the window's default size.
PREFETCH_KBYTES = 16_384
# What one answer of a broker brings at most; it stays in memory until its last record is sent. librdkafka's default
# of 50 MiB takes 80 MB more with 64 partitions, and is no faster.
FETCH_BYTES = 8 * 1024 * 1024
# librdkafka refuses a `fetch.max.bytes` that does not lie between these two.
BOUND_TO_FETCH = frozenset({"message.max.bytes", "receive.message.max.bytes"})
# Below this many messages a fetch round trip costs more than it brings, however small the window is ...
FEWEST_PREFETCHED = 1_000
# ... and this is librdkafka's own default: no reason to go beyond it.
MOST_PREFETCHED = 100_000

# A partition that is resumed, or moved, is fetched when the broker has answered for the others, which it does after
# this time when they have nothing. librdkafka's default is 500 ms; ten requests a second cost next to nothing.
FETCH_WAIT_MS = 100

# The embedded broker answers an idle fetch only when this time is over: at librdkafka's default a lone
# record is 98 ms late, at 10 ms it is 3 ms late.
EMBEDDED_FETCH_WAIT_MS = 10

# The embedded broker lets a new member in after half of its session timeout: with librdkafka's default of 45 s a
# demo would begin with a pause of 23 s.
EMBEDDED_SESSION_MS = 2_000
EMBEDDED_HEARTBEAT_MS = 500

# A topic or a partition that appears later is consumed when the client looks at the topics again. librdkafka's
# default is 5 minutes.
TOPICS_REFRESH_MS = 1_000

DELIVERY_TIMEOUT_MS = 60_000
"""How long a write is tried before it has failed: a broker that restarts is back by then."""

TOPIC_MISSING_MS = 5_000
"""How long a topic that the broker does not know is waited for, before a write to it has failed: one that was just
made is known to all brokers by then. librdkafka's default of 30 s is for clusters with ZooKeeper."""

_MAKES_TOPICS = "allow.auto.create.topics"

OUTLET_LINGER_MS = 1
"""How long a record that a lambda produces waits for others: they come together as a rule."""

LARGEST_MESSAGE = 1_000_000_000
"""Bytes; the most that librdkafka takes for `message.max.bytes`."""

_ASSIGNOR = "partition.assignment.strategy"
_PROTOCOL = "group.protocol"


class Problem(NamedTuple):
    """One mistake in the Kafka properties."""

    name: str
    """Of the property; empty where the properties as a whole are wrong."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.message}" if self.name else self.message
        return f"{text}; {self.hint}" if self.hint else text


def check(properties: Mapping[Any, Any]) -> list[str]:
    """All mistakes in a user's Kafka properties, as texts; no connection is made."""
    return [str(problem) for problem in problems(properties)]


def problems(properties: Mapping[Any, Any]) -> list[Problem]:
    """All mistakes in a user's Kafka properties (values as YAML gives them); no connection is made.

    Names and values are judged by librdkafka itself, which also reads certificates and keys that are named.
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
    wrong = {problem.name for problem in found}  # said already; beside it librdkafka would find more of the same
    return found + _rejected({name: value for name, value in good.items() if name not in wrong})


def is_embedded(servers: Any) -> bool:
    """Whether this value of `bootstrap.servers` asks for a broker of our own."""
    return isinstance(servers, str) and (servers == EMBEDDED or servers.startswith(f"{EMBEDDED}:"))


def embedded_port(servers: str) -> int | None:
    """The port that `embedded:PORT` asks for; None: any free one."""
    _, colon, port = servers.partition(":")
    return int(port) if colon else None


def as_text(value: Property) -> str:
    """A value as librdkafka takes it: a text; booleans are `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def normalised(properties: Mapping[Any, Any]) -> dict[str, str]:
    """The usable entries of a user's Kafka properties as texts; `problems` reports the others."""
    return {n: as_text(v) for n, v in properties.items() if isinstance(n, str) and isinstance(v, Property)}


def consumer_properties(
    kafka: Mapping[str, str], lambda_config: LambdaConfig, bootstrap: str | None = None
) -> dict[str, Property]:
    """What the consumer of one lambda is made with.

    Args:
        kafka: the config's `kafka` section. Its values win where the property is not ours. A librdkafka
            default is never restated: some of them, set explicitly, forbid `group.protocol=consumer`.
        lambda_config: the lambda: its group, and its window, which sizes what is fetched ahead.
        bootstrap: the embedded broker's address, which takes the place of `embedded`.
    """
    properties = _build(kafka, lambda_config.group, lambda_config.window.messages)
    if bootstrap is not None:
        properties["bootstrap.servers"] = bootstrap
    return properties


def producer_properties(kafka: Mapping[str, str], bootstrap: str | None = None) -> dict[str, Property]:
    """What a producer beside a consumer is made with: the same broker, by the same way, and nothing of consuming.

    Args:
        kafka: the config's `kafka` section.
        bootstrap: the embedded broker's address, which takes the place of `embedded`.
    """
    properties = admin_properties(kafka, bootstrap)
    # What the broker has let in must go out again, whatever its size: the broker's own limit decides, and that is for
    # the batch as it is stored, hence the compression.
    properties |= {"message.max.bytes": LARGEST_MESSAGE, "compression.type": "zstd"}
    properties |= {"enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": DELIVERY_TIMEOUT_MS}
    # A topic that the broker makes for a write has its defaults: of partitions, of how long it keeps records.
    return properties | {_MAKES_TOPICS: False, "topic.metadata.propagation.max.ms": TOPIC_MISSING_MS}


def admin_properties(kafka: Mapping[str, str], bootstrap: str | None = None) -> dict[str, Property]:
    """What the client is made with that only asks: the same brokers, by the same way.

    Args:
        kafka: the config's `kafka` section.
        bootstrap: the embedded broker's address, which takes the place of `embedded`.
    """
    properties: dict[str, Property] = {"client.id": CLIENT_ID}
    properties |= {name: value for name, value in kafka.items() if name.startswith(SHARED)}
    if bootstrap is not None:
        properties["bootstrap.servers"] = bootstrap
    return properties


def offsets_properties(consumer: Mapping[str, Property]) -> dict[str, Property]:
    """What a client is made with that asks for a group's committed offsets and is no member of it.

    Args:
        consumer: the properties of the group's consumer.
    """
    wanted = ("group.id", "client.id", "isolation.level")
    return {name: value for name, value in consumer.items() if name in wanted or name.startswith(SHARED)}


def lambda_producer_properties(kafka: Mapping[str, str], bootstrap: str | None = None) -> dict[str, Property]:
    """What the producer for a lambda's own records is made with: as `producer_properties`, and fit for many.

    Keys go to the partitions that the Java client gives them. The broker's limit is for what is stored, so the
    batches stay below the default of it, and are compressed by what costs the least. Who wants the broker to make
    topics says so, for consumers as for this.
    """
    properties = producer_properties(kafka, bootstrap)
    if _MAKES_TOPICS in kafka:
        properties[_MAKES_TOPICS] = kafka[_MAKES_TOPICS]
    return properties | {"partitioner": "murmur2_random", "linger.ms": OUTLET_LINGER_MS, "compression.type": "lz4"}


def rebalance_protocol(properties: Mapping[str, Property]) -> Literal["eager", "cooperative"]:
    """How partitions move in a rebalance: all at once (eager), or only those that change their owner.

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
        "queued.min.messages": min(MOST_PREFETCHED, max(FEWEST_PREFETCHED, window_messages)),
    }
    if not BOUND_TO_FETCH.intersection(kafka):
        properties["fetch.max.bytes"] = FETCH_BYTES
    if embedded:
        properties |= {
            "fetch.wait.max.ms": EMBEDDED_FETCH_WAIT_MS,
            "session.timeout.ms": EMBEDDED_SESSION_MS,
            "heartbeat.interval.ms": EMBEDDED_HEARTBEAT_MS,
        }
    elif _ASSIGNOR not in kafka and _PROTOCOL not in kafka:
        properties[_ASSIGNOR] = "cooperative-sticky"
    properties.update(kafka)
    # Ours whatever was asked for: the place in a partition is kept by the sidecar alone. `error`: an offset
    # that does not exist is resolved by us and never skipped in silence.
    properties |= {
        "group.id": group,
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    return properties


def _refused(name: Any, value: Any) -> Problem | None:
    """What is wrong with one property before librdkafka is asked."""
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
    """One that can be dialled."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536


def _embedded(good: Mapping[str, str]) -> list[Problem]:
    """What the embedded broker cannot do: its members would wait for partitions for ever."""
    found = []
    if good.get(_PROTOCOL, "classic").lower() != "classic":
        found.append(Problem(_PROTOCOL, "the embedded broker knows `classic` only", "leave it out"))
    if good.get(_ASSIGNOR, "range") != "range":
        found.append(Problem(_ASSIGNOR, "the embedded broker knows `range` only", "leave it out"))
    return found


# librdkafka's messages name the property on the left when the user wrote the one on the right.
_ALIASES = {"fetch.message.max.bytes": "max.partition.fetch.bytes", "sasl.mechanisms": "sasl.mechanism"}
_NAMED = re.compile(r'property: "(?P<unknown>.*)"|property "(?P<name>.*?)"')


def _rejected(good: Mapping[str, str]) -> list[Problem]:
    """What librdkafka says. It stops at the first mistake, so what it names is taken out and it is asked again."""
    from confluent_kafka import Consumer, KafkaException  # noqa: PLC0415 - `status` and `--help` need no client

    quiet = logging.getLogger("sidecar.config.kafka_properties")
    quiet.propagate = False  # what librdkafka would log is in the exception as well
    quiet.addHandler(logging.NullHandler())
    trial = _build(good, "check", FEWEST_PREFETCHED)
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
            if name is None:  # about the properties as a whole: there is no single one to leave out
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
