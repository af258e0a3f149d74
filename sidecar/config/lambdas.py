"""The `lambdas` section: each lambda's topics, its limits, and what happens when it fails."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from sidecar.config.base import Loc, Section, Wrong, mistake
from sidecar.config.process import UNPASSABLE, command_words, environment, is_passable
from sidecar.config.units import Bytes, Seconds, parse_duration, quoted, shown_duration
from sidecar.redact import HiddenDict

MAX_INSTANCES = 1_000
MAX_UINT32 = 2**32 - 1
MAX_FRAME_RECORDS = 1_000_000
"""More would be no cheaper for each record, and the whole frame is in memory."""

MAX_FRAME_BYTES = 1024**3
"""gRPC and protobuf end at 2 GiB."""

MAX_TEXT_BYTES = 32_767
"""The length of a text in Kafka's protocol, such as a group's name."""

MIN_DEADLINE_S = 2.0
"""Below that, a lambda that says each second that it makes progress could be too late."""

MAX_LANES = 128
"""Of a partition. The extension numbers them with one byte, and the places of all go into a commit's metadata."""

MAX_STATE_BYTES = 2_048
"""The states of a partition's lanes together. They travel in the metadata of its commits, of which Kafka takes 4,096
bytes."""

MAX_TRANSACTION_S = 2.0
"""The broker aborts a transaction after 10 s (`kafka_properties.TRANSACTION_TIMEOUT_MS`), and writing needs most of
that."""

LAMBDA_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)


def topic_name(value: str) -> str:
    """Validate the name of a Kafka topic."""
    if not value:
        raise mistake("the topic is empty", "name the topic")
    if not _TOPIC.fullmatch(value) or value in {".", ".."}:
        rule = "a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"
        raise mistake(f"{quoted(value)} cannot be a topic", f"{_not_a_name(value)}{rule}")
    return value


def _not_a_name(value: str) -> str:
    """What was probably meant instead of a topic's name; empty: unknown."""
    if set(value) & set("\u2018\u2019\u201c\u201d"):
        return "these quotes are typographic, YAML's are \" and '; "
    if set(value) & set("*+?|()[]{}\\$") and not is_pattern(value):
        return "a pattern is possible in `topics`, and begins with ^, as in ^orders-.*; "
    return f"it has {len(value)} characters; " if len(value) > 249 else ""


def topic_like(text: str) -> bool:
    """Whether this can be a topic's name, or is a pattern."""
    return is_pattern(text) or _TOPIC.fullmatch(text) is not None


def is_pattern(topic: str) -> bool:
    """Whether an entry of `topics` is a regular expression for names, as in librdkafka: it begins with `^`."""
    return topic.startswith("^")


def topic_or_pattern(value: str) -> str:
    """Validate an entry of `topics`: a topic's name, or a pattern."""
    if not is_pattern(value):
        return topic_name(value)
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise mistake(f"{quoted(value)} is no regular expression: {error}", "as in ^orders-.*") from None
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise mistake("expected a text, this one is empty", "give it a value")
    if not is_passable(value):
        raise mistake(f"the text {UNPASSABLE}")
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise mistake(f"expected at most {MAX_TEXT_BYTES} bytes of text")
    return value


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _none_is_empty(value: Any) -> Any:
    # A section whose keys are all commented out is `null` in YAML and means "all defaults".
    return {} if value is None else value


def _a_millisecond(value: float) -> float:
    if value < 0.001:
        raise mistake("expected at least 1ms")
    return value


def _long_enough(value: float) -> float:
    if value < MIN_DEADLINE_S:
        hint = "leave it out for no deadline" if value == 0 else "a lambda reports its progress at most once a second"
        raise mistake(f"expected at least {MIN_DEADLINE_S:g}s", hint)
    return value


def _directory(value: Path) -> Path:
    if not is_passable(str(value)):
        raise mistake(f"the path {UNPASSABLE}")
    if not value.is_dir():
        raise mistake(f"there is no directory {str(value)!r}", "a relative path starts where the sidecar was started")
    return value


Text = Annotated[str, AfterValidator(_filled)]
TopicName = Annotated[str, AfterValidator(topic_name)]
TopicOrPattern = Annotated[str, AfterValidator(topic_or_pattern)]


class CheckpointConfig(Section):
    """How checkpoints are committed to Kafka."""

    interval: Annotated[Seconds, Field(gt=0), AfterValidator(_a_millisecond)] = 1.0
    """How often the latest checkpoint of each partition is committed. Default 1s. Shorter: less is handled again
    after a crash of the sidecar. Longer: fewer requests to the broker."""


class WindowConfig(Section):
    """How much of one partition may be outstanding: sent to the lambda, and not checkpointed yet."""

    messages: Annotated[int, Field(ge=1, le=MAX_UINT32)] = 10_000
    """Records. Default 10000. Larger: a slow checkpoint stops the flow later. Smaller: less is handled again
    after a restart of the lambda. One record may always be outstanding."""

    bytes: Bytes = 16 * 1024 * 1024
    """Bytes of keys, values and headers. Default 16MiB. It bounds the memory of a lambda process: about this
    much for each of its partitions."""

    @property
    def span(self) -> int:
        """How far the last record sent may be above the checkpoint, in offsets: see `sidecar.partitions.window`."""
        return max(1_000_000, 100 * self.messages)


class FrameConfig(Section):
    """How large one frame on the wire may become. A frame never waits to be filled."""

    records: Annotated[int, Field(ge=1, le=MAX_FRAME_RECORDS)] = 4_000
    """Records in a frame at most. Default 4000. Larger: a little cheaper for each record. Smaller: a lambda's
    loop is free for other things more often."""

    bytes: Annotated[Bytes, Field(le=MAX_FRAME_BYTES)] = 1024 * 1024
    """Bytes in a frame at most. Default 1MiB. A soft limit: a larger record goes alone."""


class LambdaConfig(Section):
    """One lambda: which topics, in which group, who runs it, and the limits."""

    topics: Annotated[tuple[TopicOrPattern, ...], BeforeValidator(_listed)] = Field(
        default=(), validation_alias=AliasChoices("topic", "topics")
    )
    """The topics to consume; in the file either `topic: NAME` or `topics: [NAME, ...]`. Required. One that begins
    with `^` is a regular expression: all topics whose names it matches from the beginning, also those that appear
    later."""

    group: Text
    """The Kafka consumer group. Required: a guessed one would read everything again after a renaming."""

    plugin: Text | None = None
    """The module with the plugin, for `python -m sdk_python.serve NAME`. Default: none; the sidecar itself does
    not use it."""

    document_lambda: Text | None = None
    """The module with the lambda of one document, when `plugin` is the document router. Default: none."""

    command: Annotated[tuple[str, ...], BeforeValidator(command_words)] | None = Field(default=None, repr=False)
    """The lambda process, as words; a text is split as a shell would, but no shell runs. Default: none, then
    somebody else starts it. With it the sidecar starts the process and keeps it running."""

    instances: Annotated[int, Field(ge=1, le=MAX_INSTANCES)] = 1
    """How many processes of `command` run. Default 1. More: partitions are handled on more cores; more processes
    than partitions (with `lanes`: than lanes) stay idle."""

    env: Annotated[dict[str, str], BeforeValidator(environment), AfterValidator(HiddenDict)] | None = None
    """Environment variables of `command`, besides the sidecar's own. Default: none."""

    cwd: Annotated[Path, AfterValidator(_directory)] | None = None
    """The directory in which `command` runs. Default: the sidecar's."""

    produce: Annotated[tuple[TopicName, ...], BeforeValidator(_listed)] = ()
    """The topics that the lambda may write to by `context.produce`, or by the call Produce. Default: none. A topic
    that it consumes itself has to be here as well."""

    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    """What holds for the records that the lambda produces. Default at-least-once: they are written as they come, and
    some are written again after a failure. exactly-once: they become visible together with the checkpoint that covers
    them, or never. It needs real Kafka, and readers with `isolation.level: read_committed`."""

    transaction_interval: Annotated[Seconds, Field(le=MAX_TRANSACTION_S), AfterValidator(_a_millisecond)] = 0.1
    """How long a record waits at most for those of other partitions, to share a transaction. Default 100ms. Shorter:
    records become visible sooner. Longer: fewer transactions. Only with `guarantee: exactly-once`."""

    transactional_id_prefix: Text = "kafka-sidecar"
    """The beginning of the `transactional.id`. Default kafka-sidecar. The group and the lambda follow, so one ACL for
    the prefix allows all. Only with `guarantee: exactly-once`."""

    settings: Annotated[dict[str, Any], BeforeValidator(_none_is_empty), AfterValidator(HiddenDict)] = Field(
        default_factory=HiddenDict
    )
    """What the plugin gets as its config: anything that JSON can hold. Default: empty."""

    start: Literal["earliest", "latest"] = "earliest"
    """Where a group without a committed offset starts. Default earliest: no record is left out. latest: only
    records that are written from now on."""

    on_offset_lost: Literal["earliest", "latest", "halt"] = "earliest"
    """What to do when the committed offset no longer exists (retention, or the topic was deleted and re-created).
    Default earliest: go on with the oldest record that is left. latest: leave out all records that are there. halt:
    stop the partition and wait for an operator."""

    lanes: Annotated[int, Field(ge=1, le=MAX_LANES)] = 1
    """Into how many lanes each partition is split by the keys of its records. Default 1: not at all. More: so many
    lambdas work on one partition at a time, in any process; the records of one key stay in order, and a key that
    fails stops its lane only. `docs/lanes.md` says what that costs."""

    checkpoint: Annotated[CheckpointConfig, BeforeValidator(_none_is_empty)] = CheckpointConfig()
    """How checkpoints are committed."""

    window: Annotated[WindowConfig, BeforeValidator(_none_is_empty)] = WindowConfig()
    """How much may be outstanding in one partition."""

    frame: Annotated[FrameConfig, BeforeValidator(_none_is_empty)] = FrameConfig()
    """How large one frame may become."""

    on_critical: Literal["halt", "dead-letter", "exit"] = "halt"
    """What a critical error does. Default halt: the partition stops, all others go on, and an operator resumes it.
    dead-letter: the record that failed goes to `dead_letter_topic`, and the partition goes on without it; an error
    that names no record halts. exit: the sidecar drains and ends with exit code 1."""

    dead_letter_topic: TopicName | None = None
    """Where dead letters go. Default: TOPIC.LAMBDA.dead-letter for each topic. Made if it is missing, with the
    topic's number of partitions. Only with `on_critical: dead-letter`."""

    max_restarts: Annotated[int, Field(ge=0, le=MAX_UINT32)] | None = None
    """After so many restarts in a row without a new checkpoint the next failure is critical. Default: none, a
    recoverable error stays recoverable: an outage or a deploy must not turn healthy records into dead letters."""

    stall_after: Annotated[Seconds, Field(gt=0)] = 300.0
    """When a partition counts as stalled: records outstanding, and no checkpoint for so long. Default 5m. It is
    reported in the log, in `status` and as a metric; nothing is stopped, since a record may take long."""

    deadline: Annotated[Seconds, AfterValidator(_long_enough)] | None = None
    """When the lambda of a partition is ended: records outstanding, and neither a new checkpoint nor
    `context.progress` for so long. It counts as a failure. Default: none, since a record may take long. At least 2s,
    and not below `shutdown_drain`, which it has to close."""

    rebalance_drain: Seconds = 2.0
    """How long a lambda may take to finish when Kafka takes a partition away. Default 2s. Longer: less is handled
    twice. Shorter: the partitions that stay stand still for less time."""

    shutdown_drain: Seconds = 10.0
    """How long a lambda may take to finish when the sidecar stops, when its partition goes to another process for
    balance, or when an operator pauses it. Default 10s. Keep it below what your orchestrator grants between SIGTERM
    and SIGKILL."""

    leave_group_after: Seconds = 60.0
    """How long the sidecar stays in the group without any lambda process. Default 60s. Longer: a slow redeploy
    causes no rebalance. Shorter: other sidecars of the group take over sooner."""

    @property
    def max_state_bytes(self) -> int:
        """How long the state of one checkpoint may be."""
        return MAX_STATE_BYTES // self.lanes

    @property
    def exactly_once(self) -> bool:
        """Whether records and checkpoints are written in transactions."""
        return self.guarantee == "exactly-once"

    @classmethod
    def where_else(cls, key: str) -> str:
        """Keys of other sections, and those of the plugin."""
        if key in {"token", "admin_token", "identities", "tls", "listen"}:
            return f"`{key}` belongs below `server`"
        return f"what the plugin reads belongs below `settings`; known here: {', '.join(cls.keys())}"

    @classmethod
    def mistakes(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        """Wrong topics, keys that need a command, and settings that JSON cannot hold."""
        yield from _topic_mistakes(data)
        yield from _twice(data, "produce")
        yield from _dead_letter_mistakes(data)
        yield from _deadline_mistakes(cls, data)
        yield from _guarantee_mistakes(data)
        if data.get("command") is None:
            for key in ("instances", "env", "cwd"):
                if data.get(key) is not None:
                    yield Wrong((key,), "only makes sense with `command`", "add a command, or delete it")
        yield from not_json(data.get("settings") or {}, ("settings",))


def _deadline_mistakes(section: type[LambdaConfig], data: Mapping[Any, Any]) -> Iterator[Wrong]:
    deadline, drain = _raw_seconds(data.get("deadline")), section.model_fields["shutdown_drain"].default
    if data.get("shutdown_drain") is not None:
        drain = _raw_seconds(data["shutdown_drain"])
    if deadline is not None and drain is not None and MIN_DEADLINE_S <= deadline < drain:
        message = (
            f"it is below shutdown_drain ({shown_duration(drain)}): to close would take longer than the deadline"
        )
        yield Wrong(("deadline",), message, "raise it, or lower shutdown_drain")


def _raw_seconds(value: Any) -> float | None:
    """A duration as it stands in the file; None where there is none, or a wrong one, which is reported elsewhere."""
    with suppress(ValueError):
        return parse_duration(value) if isinstance(value, str) else None
    return None


def raw_topics(data: Any) -> tuple[str, ...]:
    """The topics in a lambda's section; ``data`` is raw and may be wrong in any way."""
    if not isinstance(data, Mapping):
        return ()
    several = data.get("topics")
    listed = [*several] if isinstance(several, list | tuple) else []
    return tuple(topic for topic in (*listed, data.get("topic")) if isinstance(topic, str))


def not_json(value: Any, loc: Loc) -> Iterator[Wrong]:
    """The parts of a value that JSON cannot hold."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield Wrong((*loc, str(key)), f"a key must be text, this is {key!r}", "put it in quotes")
            else:
                yield from not_json(inner, (*loc, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from not_json(inner, (*loc, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield Wrong(loc, f"JSON has no {value}", "put it in quotes")
    elif value is not None and not isinstance(value, str | int | float):
        yield Wrong(loc, f"JSON has no {type(value).__name__}", "put it in quotes")


def default_dead_letter_topic(lambda_name: str, topic: str) -> str:
    """The topic for dead letters of ``topic`` when the config names no `dead_letter_topic`."""
    return topic + dead_letter_suffix(lambda_name)


def dead_letter_suffix(lambda_name: str) -> str:
    """The ending of the default names of a lambda's dead-letter topics."""
    return f".{lambda_name}.dead-letter"


def dead_letter_default_mistakes(lambda_name: str, data: Any) -> Iterator[Wrong]:
    """Mistakes in the default names of dead-letter topics; ``data`` is raw and may be wrong in any way."""
    if not isinstance(data, Mapping) or data.get("on_critical") != "dead-letter":
        return
    if data.get("dead_letter_topic") is not None:
        return
    topics = raw_topics(data)
    for topic in topics:
        name = default_dead_letter_topic(lambda_name, topic)
        if name in topics:
            yield _endless(name)
        elif _TOPIC.fullmatch(topic) and LAMBDA_NAME.fullmatch(lambda_name) and not _TOPIC.fullmatch(name):
            message = f"the dead-letter topic of {topic!r} would have a name that is too long: {name!r}"
            yield Wrong(("dead_letter_topic",), message, "name a shorter one with this key")


def _dead_letter_mistakes(data: Mapping[Any, Any]) -> Iterator[Wrong]:
    name = data.get("dead_letter_topic")
    if name is None:
        return
    # A misspelt policy is reported elsewhere.
    if data.get("on_critical", "halt") in ("halt", "exit"):
        hint = "add it, or delete this key"
        yield Wrong(("dead_letter_topic",), "only makes sense with `on_critical: dead-letter`", hint)
    if name in raw_topics(data):
        yield _endless(name)


def _guarantee_mistakes(data: Mapping[Any, Any]) -> Iterator[Wrong]:
    guarantee = data.get("guarantee")
    if guarantee is None or guarantee == "at-least-once":  # a misspelt one is reported elsewhere
        for key in ("transaction_interval", "transactional_id_prefix"):
            if data.get(key) is not None:
                yield Wrong((key,), "only makes sense with `guarantee: exactly-once`", "add it, or delete this key")
    elif guarantee == "exactly-once" and data.get("document_lambda") is not None:
        message = "the document router cannot keep it: its documents checkpoint by themselves"
        yield Wrong(("guarantee",), message, "use at-least-once, or a lambda without the router")


def _endless(topic: str) -> Wrong:
    message = f"the lambda consumes {topic!r} itself: a dead letter would come back to it for ever"
    return Wrong(("dead_letter_topic",), message, "give dead letters a topic that this lambda does not consume")


def _topic_mistakes(data: Mapping[Any, Any]) -> Iterator[Wrong]:
    one, several = data.get("topic"), data.get("topics")
    if one is None and several is None:
        yield Wrong(
            ("topic",), "missing: a lambda needs something to consume", "write topic: NAME, or topics: [NAME, ...]"
        )
    elif one is not None and several is not None:
        yield Wrong(("topics",), "`topic` and `topics` are both here", "keep one of them")
    elif isinstance(one, list | tuple):
        yield Wrong(("topic",), "expected one name, not a list", "use topics: [NAME, ...] for several")
    elif several is not None and not isinstance(several, list | tuple):
        one_name = f", or topic: {several}" if isinstance(several, str) and topic_like(several) else ""
        shown = several if isinstance(several, str) and len(several) <= 60 else "NAME, ..."
        yield Wrong(("topics",), "expected a list", f"write topics: [{shown}]{one_name}")
    elif several is not None and not several:
        yield Wrong(("topics",), "expected at least one topic, the list is empty")
    yield from _twice(data, "topics")


def _twice(data: Mapping[Any, Any], key: str) -> Iterator[Wrong]:
    topics = data.get(key)
    if isinstance(topics, list | tuple):
        for index, topic in enumerate(topics):
            if topic in topics[:index]:
                yield Wrong((key, index), f"the topic {topic!r} is here twice", "delete one of them")
