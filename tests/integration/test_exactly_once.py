"""Exactly-once on real Kafka: what a lambda produces becomes visible once, in order, whatever is killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from tests.integration.harness import NAME, Program, Sidecar, Stage, wait_for
from tests.integration.test_produce import out_topic
from tests.servers.topics import Stored, read_all

pytestmark = pytest.mark.kafka

PARTITIONS = 3


def copier(stage: Stage, sidecar: Sidecar, out: str, how: str = "commit", label: str = "p1") -> Program:
    command = [sys.executable, "-m", "tests.integration.copier", sidecar.address, NAME, out, how]
    return stage.program(label, command)


def visible(stage: Stage, out: str) -> list[Stored]:
    """What readers with read_committed, the default, see."""
    return read_all(stage.broker.address, out)


def copies(stage: Stage, out: str) -> dict[int, list[int]]:
    """The offsets that were copied, by their partition, in the order in which they are in ``out``."""
    found: dict[int, list[int]] = {}
    for record in visible(stage, out):
        partition, offset = (record.value or b"").decode().split(":")
        assert int(partition) == record.partition
        found.setdefault(record.partition, []).append(int(offset))
    return found


def produced(stage: Stage) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for partition, offset in stage.produced:
        found.setdefault(partition, []).append(offset)
    return found


def wait_until_copied(stage: Stage, out: str) -> None:
    wanted = produced(stage)
    wait_for(
        lambda: stage.committed() == {partition: offsets[-1] + 1 for partition, offsets in wanted.items()},
        lambda: f"all to be committed, {stage.committed()} is",
    )
    assert copies(stage, out) == wanted


@pytest.mark.parametrize("how", ["commit", "held", "sources", "closed"])
def test_all_is_copied_once_by_each_way(kafka_stage: Stage, how: str) -> None:
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    out = out_topic(stage, PARTITIONS)
    stage.produce_numbers(3_000, PARTITIONS)
    sidecar = stage.sidecar(produce=[out], guarantee="exactly-once")
    copier(stage, sidecar, out, how)
    if how == "closed":
        wait_for(lambda: sidecar.status().partitions, "the partitions")
    wait_until_copied(stage, out)
