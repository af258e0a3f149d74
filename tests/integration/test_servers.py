"""The Kafka that other tests stand on: it starts, survives, and its helpers tell the truth."""

from __future__ import annotations

import os

import pytest

from tests.servers.kafka import KafkaServer, missing_requirements
from tests.servers.topics import (
    Record,
    committed,
    create_topic,
    delete_topic,
    end_offsets,
    produce,
    produce_non_utf8_header,
    read_all,
)

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        missing_requirements() is not None and not os.environ.get("KAFKA_SIDECAR_REQUIRE_KAFKA"),
        reason=str(missing_requirements()),
    ),
]


def test_keeps_its_data_and_address_over_stop_and_kill() -> None:
    with KafkaServer() as server:
        address = server.address
        create_topic(address, "orders", 2)
        assert produce(address, "orders", [Record(b"k", b"v", partition=1)]) == [(1, 0)]
        server.stop()
        server.start()
        assert server.address == address
        assert produce_non_utf8_header(address, "orders", 1, key=b"bad") == (1, 1)
        server.kill()
        server.start()
        assert end_offsets(address, "orders") == {0: 0, 1: 2}
        assert [(record.key, record.headers) for record in read_all(address, "orders")] == [
            (b"k", []),
            (b"bad", None),
        ]
        assert committed(address, "nobody", "orders") == {}
        delete_topic(address, "orders")
