"""deli's settings, and the plugin that takes them."""

import json
from types import MappingProxyType
from typing import Any

import pytest

from examples.deli import service
from examples.deli.javascript import encode
from examples.deli.settings import Settings, Topics
from sdk_python import SettingsError
from sdk_python._loading import find_plugin
from sdk_python._settings import read_only

KAFKA = {"bootstrap.servers": "127.0.0.1:1"}


def settings(**given: Any) -> Settings:
    """As the SDK hands them over: read-only in depth, and whose document it is among them."""
    return Settings.of(read_only({"kafka": KAFKA, **given}))


def test_what_is_not_given() -> None:
    found = settings()
    assert found.topics == Topics("deltas", "deli-state", None)
    assert found.kafka == KAFKA
    assert found.sequencer.client_timeout == 300_000


def test_all_of_them() -> None:
    found = settings(
        deltas="d",
        state="s",
        signals="x",
        kafka={**KAFKA, "security.protocol": "SSL"},
        sequencer={"clientTimeout": 5, "checkpointHeuristics": {"enable": True, "maxMessages": 7}},
    )
    assert found.topics == Topics("d", "s", "x")
    assert found.kafka["security.protocol"] == "SSL"
    assert found.sequencer.checkpoint_heuristics.max_messages == 7
    assert found.sequencer.client_timeout == 5


def test_settings_of_the_router_and_of_the_document_are_none_of_its_own() -> None:
    settings(
        document_lambda="examples.deli.service",
        document_router={"key": "record"},
        tenantId="t",
        documentId="d",
        leaderEpoch=0,
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"delta": "d"}, "delta: deli has no such setting; it has deltas, state, signals, kafka, sequencer"),
        ({"deltas": 7}, "deltas: expected the name of a topic, got 7"),
        ({"state": ""}, "state: expected the name of a topic, got ''"),
        ({"deltas": None}, "deltas: expected the name of a topic, got None"),
        ({"signals": ["s"]}, "signals: expected the name of a topic"),
        ({"deltas": "same", "state": "same"}, "state and deltas: each needs a topic of its own, both are same"),
        ({"signals": "deltas"}, "signals and deltas: each needs a topic of its own, both are deltas"),
        ({"kafka": {}}, "kafka: deli reads its states from Kafka"),
        ({"kafka": "127.0.0.1:9092"}, "kafka: deli reads its states from Kafka"),
        ({"kafka": None}, "kafka: deli reads its states from Kafka"),
        ({"kafka": {**KAFKA, "no.such": 1}}, 'kafka: No such configuration property: "no.such"'),
        ({"kafka": {"bootstrap.servers": "embedded:19092"}}, "kafka: embedded is a word of the sidecar's"),
        (
            {"sequencer": {"clientTimeOut": 1}},
            "sequencer: unknown setting 'clientTimeOut': Config knows clientTimeout",
        ),
        ({"sequencer": {"opEvent": {"x": 1}}}, "sequencer: unknown setting 'x': OpEvents knows enable"),
        ({"sequencer": "fast"}, "sequencer: expected a mapping, got 'fast'"),
        ({"sequencer": {"opEvent": True}}, "sequencer: opEvent: expected a mapping, got True"),
        (
            {"sequencer": {"clientTimeout": "5m"}},
            "sequencer: clientTimeout: expected a whole number from 0 on, got '5m'",
        ),
        ({"sequencer": {"clientTimeout": -1}}, "sequencer: clientTimeout: expected a whole number from 0 on, got -1"),
        (
            {"sequencer": {"readClientIdleTimer": 0}},
            "sequencer: readClientIdleTimer: expected a whole number from 1 on, got 0",
        ),
        ({"sequencer": {"enableTraces": "no"}}, "sequencer: enableTraces: expected true or false, got 'no'"),
        (
            {"sequencer": {"checkpointHeuristics": {"maxMessages": True}}},
            "sequencer: checkpointHeuristics.maxMessages: expected a whole number from 0 on, got True",
        ),
    ],
)
def test_settings_that_are_wrong(given: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(**given)
    assert str(refused.value).startswith(text)


def test_kafka_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"write kafka: \{bootstrap.servers: HOST:PORT\}"):
        Settings.of({})


async def test_the_plugin_is_the_module() -> None:
    plugin = find_plugin(service)
    factory = await plugin.create(MappingProxyType({"kafka": KAFKA}))
    await factory.dispose()
    with pytest.raises(SettingsError, match="no such setting"):
        await plugin.create({"kafka": KAFKA, "x": 1})


def test_what_goes_into_messages_can_be_written() -> None:
    """The SDK's settings are read-only mappings and tuples, which are no JSON."""
    content = {"code": 429, "message": "later", "more": [1, {"a": 2}]}
    found = settings(sequencer={"summaryNackMessages": {"enable": True, "nackContent": content}})
    assert json.loads(encode(found.sequencer.summary_nack_messages.nack_content)) == content


async def test_signals_are_on_with_a_topic_for_them() -> None:
    with_topic = await service.create({"kafka": KAFKA, "signals": "s"})
    without = await service.create({"kafka": KAFKA})
    assert with_topic._config.signals
    assert not without._config.signals
