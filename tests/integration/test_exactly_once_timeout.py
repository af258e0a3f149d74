"""Exactly-once on real Kafka: a sidecar is frozen for longer than the timeout of its transaction."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not marked so

from tests.integration.conftest import need
from tests.integration.harness import PATIENCE, Broker, Stage, Traffic, wait_for
from tests.integration.test_exactly_once import (
    PARTITIONS,
    begin,
    copier,
    options,
    visible,
    wait_for_copies,
    wait_until_copied,
)
from tests.servers.kafka import KafkaServer, missing_requirements
from tests.servers.kafka_proxy import Api, KafkaProxy, Moment
from tests.servers.process import free_ports

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def proxied() -> Iterator[tuple[KafkaServer, KafkaProxy]]:
    """A Kafka and the proxy for its clients."""
    need(missing_requirements())
    ports = free_ports(1)
    with KafkaServer(proxy=ports[0]) as kafka, KafkaProxy(ports, [kafka.proxied]) as proxy:
        yield kafka, proxy


def is_open(stage: Stage, out: str) -> bool:
    """Whether a transaction with copies is open: readers with read_committed do not get beyond its beginning."""
    admin = AdminClient({"bootstrap.servers": stage.broker.address, "log_level": 0})

    def ends(isolation: IsolationLevel) -> list[int]:
        wanted = {TopicPartition(out, number): OffsetSpec.latest() for number in range(PARTITIONS)}  # type: ignore[no-untyped-call]
        found = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=PATIENCE)
        return [one.result().offset for one in found.values()]

    return ends(IsolationLevel.READ_COMMITTED) != ends(IsolationLevel.READ_UNCOMMITTED)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("api", [Api.TXN_OFFSET_COMMIT, Api.END_TXN])
def test_a_transaction_that_times_out_is_written_again(
    proxied: tuple[KafkaServer, KafkaProxy], tmp_path: Path, api: Api
) -> None:
    kafka, proxy = proxied
    stage = Stage(Broker("kafka", kafka.address), tmp_path, f"timeout-{api.name.lower()}")
    try:
        out = begin(stage)
        sidecar = stage.sidecar(stage.config(kafka={"bootstrap.servers": proxy.address}, **options(out)))
        copier(stage, sidecar, out)
        with Traffic(stage, PARTITIONS, 0.02):
            wait_for_copies(stage, out, 30)
            caught = proxy.catch(api, Moment.BEFORE)
            assert caught.wait(PATIENCE)
            sidecar.signal(signal.SIGSTOP)
            seen = len(visible(stage, out))
            wait_for(lambda: not is_open(stage, out), "the broker to abort the transaction")
            assert len(visible(stage, out)) == seen, "nothing of it is visible"
            sidecar.signal(signal.SIGCONT)
            caught.let_go()  # the request comes too late: the broker has to refuse it
            wait_for_copies(stage, out, 30)
        wait_until_copied(stage, out)
        assert sidecar.lambda_status().transactions_aborted > 0
    except BaseException:
        print(stage.logs())
        raise
    finally:
        stage.close()
