"""Tests of the Kafka server for tests: it starts and restarts, and its helpers return the truth."""

from __future__ import annotations

import pytest

from tests.integration.conftest import need
from tests.integration.harness import wait_for
from tests.servers.kafka import KafkaCluster, KafkaServer, missing_requirements
from tests.servers.topics import (
    Record,
    committed,
    create_topic,
    delete_topic,
    end_offsets,
    leaders,
    produce,
    produce_non_utf8_header,
    read_all,
)

pytestmark = pytest.mark.kafka


def test_keeps_its_data_and_address_over_stop_and_kill() -> None:
    need(missing_requirements())
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


def test_one_of_two_brokers_is_killed_and_comes_back(two_brokers: KafkaCluster) -> None:
    address = two_brokers.address
    create_topic(address, "apart", replicas=[[1], [2]])
    create_topic(address, "shared", replicas=[[2, 1]])
    assert leaders(address, "apart") == {0: 1, 1: 2}
    produce(address, "apart", [Record(value=b"%d" % number, partition=number % 2) for number in range(4)])
    produce(address, "shared", [Record(value=b"before")])

    two_brokers.broker(2).kill()

    wait_for(lambda: leaders(address, "apart") == {0: 1, 1: -1}, "the partition of the killed broker has no leader")
    assert produce(address, "apart", [Record(value=b"4", partition=0)]) == [(0, 2)]
    assert end_offsets(address, "apart", [0]) == {0: 3}
    assert committed(address, "nobody", "apart", [0]) == {}
    assert [one.value for one in read_all(address, "apart", partitions=[0])] == [b"0", b"2", b"4"]
    wait_for(lambda: leaders(address, "shared") == {0: 1}, "the other replica leads")
    assert [one.value for one in read_all(address, "shared")] == [b"before"]

    two_brokers.broker(2).start()

    wait_for(lambda: leaders(address, "apart") == {0: 1, 1: 2}, "its leader is there again")
    assert [one.value for one in read_all(address, "apart")] == [b"0", b"2", b"4", b"1", b"3"]
