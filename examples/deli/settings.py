"""deli's part of the sidecar's config, under ``settings``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from examples.deli.config import Config
from sdk_python import SettingsError

_OF_OTHERS = frozenset({"document_lambda", "document_router", "tenantId", "documentId", "leaderEpoch"})


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics. The defaults are those of the service; the lambda's `produce` must list them."""

    deltas: str = "deltas"
    """Sequenced operations and nacks."""
    state: str = "deli-state"
    """The states: a compacted topic, which is created if it is missing."""
    signals: str | None = None
    """Joins and leaves as signals. None: no signals."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All topics."""

    topics: Topics
    kafka: Mapping[str, Any]
    """Properties of librdkafka for reading the states: at least ``bootstrap.servers``."""
    sequencer: Config

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Settings":
        """From the plugin's config. Raises ``SettingsError`` when a setting is missing, unknown, or mistyped."""
        names = ("deltas", "state", "signals", "kafka", "sequencer")
        for name in settings.keys() - _OF_OTHERS:
            if name not in names:
                raise SettingsError(f"{name}: deli has no such setting; it has {', '.join(names)}")
        given = {name: settings[name] for name in ("deltas", "state", "signals") if name in settings}
        for name, topic in given.items():
            if not (isinstance(topic, str) and topic) and not (topic is None and name == "signals"):
                raise SettingsError(f"{name}: expected the name of a topic, got {topic!r}")
        topics = Topics(**given)
        of_topics: dict[str, str] = {}
        for name, topic in (("deltas", topics.deltas), ("state", topics.state), ("signals", topics.signals)):
            other = of_topics.setdefault(topic, name) if topic is not None else name
            if other != name:
                raise SettingsError(f"{name} and {other}: each needs a topic of its own, both are {topic}")
        try:
            sequencer = Config.from_settings(_plain(settings.get("sequencer", {})))
        except ValueError as error:
            raise SettingsError(f"sequencer: {error}".replace("sequencer: sequencer", "sequencer")) from None
        return cls(topics, _kafka(settings.get("kafka")), sequencer)


def _kafka(properties: Any) -> dict[str, Any]:
    if not isinstance(properties, Mapping) or not properties.get("bootstrap.servers"):
        raise SettingsError("kafka: deli reads its states from Kafka; write kafka: {bootstrap.servers: HOST:PORT}")
    if str(properties["bootstrap.servers"]).startswith("embedded"):
        raise SettingsError("kafka: embedded is a word of the sidecar's; write the address of its broker, HOST:PORT")
    try:
        Consumer({**properties, "group.id": "deli-states"}).close()  # before the first document, which would wait
    except (KafkaException, TypeError, ValueError) as error:
        first = error.args[0]
        raise SettingsError(f"kafka: {first.str() if isinstance(first, KafkaError) else first}") from None
    return dict(properties)


def _plain(value: Any) -> Any:
    """As plain JSON values: the config from the SDK is read-only in depth, and parts of it go into messages."""
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value
