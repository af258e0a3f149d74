"""The crash matrix: its faults come from a seed, and its reader finds what is wrong."""

from __future__ import annotations

import pytest

from tests.chaos.exactly_once import faults
from tests.chaos.exactly_once.reader import Order
from tests.servers.kafka_proxy import Api, Moment


def test_same_seed_same_faults_and_every_kind_comes() -> None:
    made = faults.make(7, 500, brokers=3)
    assert made == faults.make(7, 500, brokers=3)
    assert made != faults.make(8, 500, brokers=3)
    assert {fault.kind for fault in made} == {*faults.WEIGHTS}
    requests = {(fault.api, fault.moment) for fault in made if fault.kind.startswith("request")}
    assert requests == {(api, moment) for api in Api for moment in Moment}
    assert len({str(fault) for fault in made}) > 300


def test_neither_the_controller_nor_a_single_broker_is_killed() -> None:
    assert all(fault.broker > 1 for fault in faults.make(1, 500, brokers=3) if fault.kind == "broker-kill")
    assert all(fault.kind != "broker-kill" for fault in faults.make(1, 500))


@pytest.mark.parametrize(
    ("values", "lanes", "wrong"),
    [
        (["0:0:0:1", "0:1:0:2", "1:0:0:1", "0:2:0:3"], 1, ""),
        (["0:0:0:1", "0:1:0:2", "0:1:0:2"], 1, "partition 0: offset 1 was copied after 1"),
        (["0:0:0:1", "0:2:0:2"], 1, "partition 0: offset 2 was copied after 0, and what is between is missing"),
        (["0:0:0:1", "0:1:0:1"], 1, "partition 0: offset 1 is copy 1 by the lambda's state, after copy 1"),
        (["0:3:1:1", "0:1:0:1", "0:4:1:2", "0:9:0:2"], 2, ""),
        (["0:3:1:1", "0:1:0:1", "0:2:1:2"], 2, "partition 0 lane 1: offset 2 was copied after 3"),
    ],
)
def test_the_reader_finds_what_is_wrong(values: list[str], lanes: int, wrong: str) -> None:
    order = Order(lanes)
    found = [order.take(value.encode()) for value in values]
    assert [one for one in found if one] == ([wrong] if wrong else [])
    assert sum(order.counts.values()) == len(values)
