"""The enums of the core and of the contract have the same names and numbers, so the server needs no translation."""

from enum import IntEnum
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2, lambda_pb2
from sidecar.partitions import vocabulary

PAIRS: list[tuple[type[IntEnum], Any]] = [
    (vocabulary.State, admin_pb2.PartitionState),
    (vocabulary.FailureKind, admin_pb2.FailureKind),
    (vocabulary.WaitsFor, admin_pb2.WaitsFor),
    (vocabulary.RebalanceKind, admin_pb2.RebalanceKind),
    (vocabulary.RevokeReason, lambda_pb2.RevokeReason),
    (vocabulary.ClosedReason, lambda_pb2.ClosedReason),
    (vocabulary.CheckpointOutcome, lambda_pb2.CheckpointOutcome),
    (vocabulary.ErrorAction, lambda_pb2.ErrorAction),
    (vocabulary.ErrorOutcome, lambda_pb2.ErrorOutcome),
]
INSIDE_ONLY = {vocabulary.EndReason}


def numbers_of_the_contract(kind: Any) -> dict[str, int]:
    name = "".join(f"_{c}" if c.isupper() else c.upper() for c in kind.DESCRIPTOR.name).lstrip("_")
    return {entry.removeprefix(f"{name}_"): number for entry, number in kind.items()}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
def test_names_and_numbers_are_the_contracts(ours: type[IntEnum], theirs: Any) -> None:
    contract = numbers_of_the_contract(theirs)
    own = {member.name: int(member) for member in ours}
    assert own == contract if "UNSPECIFIED" in own else {**own, "UNSPECIFIED": 0} == contract


@pytest.mark.parametrize("theirs", [theirs for _, theirs in PAIRS], ids=[ours.__name__ for ours, _ in PAIRS])
def test_zero_is_unspecified(theirs: Any) -> None:
    assert numbers_of_the_contract(theirs)["UNSPECIFIED"] == 0


def test_no_enum_of_the_vocabulary_is_left_out() -> None:
    here = {
        value
        for value in vars(vocabulary).values()
        if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
    }
    assert here == {ours for ours, _ in PAIRS} | INSIDE_ONLY


def test_an_unknown_reason_to_close_counts_as_unspecified() -> None:
    assert vocabulary.ClosedReason(77) is vocabulary.ClosedReason.UNSPECIFIED
