"""Which part of an answer is meant."""

from __future__ import annotations

import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.status.command import _STATES
from sidecar.commands.status.selection import STATES, Chosen, in_states, narrowed, not_there, parse_chosen
from tests.unit.explain.scenes import lambda_, partition, status

from .scenes import busy


def numbers(answer: pb.StatusResponse) -> dict[str, list[int]]:
    """The partitions of each lambda."""
    return {one.name: [partition.partition for partition in one.partitions] for one in answer.lambdas}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("deli", Chosen("deli")), ("deli/a", Chosen("deli", "a")), ("deli/a/3", Chosen("deli", "a", 3))],
)
def test_how_a_part_is_named(text: str, expected: Chosen) -> None:
    assert parse_chosen(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["", "/", "deli/", "deli//3", "deli/a/x", "deli/a/-1", "deli/a/3/4", "deli/a/²"])
def test_a_wrong_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected .*as in deli, deli/rawdeltas or deli/rawdeltas/3"):
        parse_chosen(text)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], {"billing": [0, 1, 2], "scribe": []}),
        ([Chosen("billing")], {"billing": [0, 1, 2]}),
        ([Chosen("billing", "orders", 1)], {"billing": [1]}),
        ([Chosen("billing", "orders", 1), Chosen("billing", "orders", 2)], {"billing": [1, 2]}),
        ([Chosen("billing", "other")], {}),
        ([Chosen("scribe", "a", 1)], {"scribe": []}),
    ],
)
def test_what_is_left(chosen: list[Chosen], expected: dict[str, list[int]]) -> None:
    assert numbers(narrowed(busy(), chosen)) == expected
    assert numbers(busy()) == {"billing": [0, 1, 2], "scribe": []}


def test_the_problem_of_another_partition_is_left_out() -> None:
    kinds = ("commit:orders/1", "commit:orders/2", "group")
    answer = status(lambda_(partition(1), partition(2), problems=[pb.Problem(kind=kind) for kind in kinds]))
    left = narrowed(answer, [Chosen("billing", "orders", 2)]).lambdas[0]
    assert [problem.kind for problem in left.problems] == ["commit:orders/2", "group"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], [0, 1, 2]),
        (["halted"], [1]),
        (["halted", "running"], [0, 1]),
        (["problem"], [1, 2]),
        (["backing-off"], []),
    ],
)
def test_states(states: list[str], expected: list[int]) -> None:
    assert numbers(in_states(busy(), states))["billing"] == expected


def test_every_state_of_the_contract_can_be_chosen() -> None:
    known = {name.removeprefix("PARTITION_STATE_").lower().replace("_", "-") for name, _ in pb.PartitionState.items()}
    assert known - {"unspecified"} == set(STATES) - {"problem"}
    assert _STATES == STATES, "the command knows them without protobuf"


def test_what_is_not_there_is_said_with_what_there_is() -> None:
    assert not_there([Chosen("billing"), Chosen("scribe", "a")], [busy()]) == ""
    assert not_there([Chosen("bill")], [busy()]) == "there is no lambda 'bill'; there are: billing, scribe"
    assert not_there([Chosen("billing", "orders", 9)], [busy(), busy()]) == (
        "billing/orders/9 is not assigned to any of the 2 sidecars that answered now; billing has: orders/0, "
        "orders/1, orders/2"
    )


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([Chosen("billing")], ["orders", "other"]),
        ([Chosen("billing", "orders")], ["orders"]),
        ([Chosen("billing", "orders", 1)], []),
    ],
)
def test_what_is_left_out_is_not_unowned(chosen: list[Chosen], expected: list[str]) -> None:
    answer = busy()
    answer.lambdas[0].topic_sizes.extend(pb.TopicSize(topic=name, partitions=9) for name in ("orders", "other"))
    left = narrowed(answer, chosen)
    assert [size.topic for size in left.lambdas[0].topic_sizes] == expected
    assert not in_states(left, ["halted"]).lambdas[0].topic_sizes
