"""The kit holds what a lambda produces, and makes it visible with a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers, transactions
from sidecar.conformance.lives import Life
from sidecar.conformance.transactions import Transactions
from sidecar.server.frames import InvalidFrameError

HELD, WRITTEN = pb.PRODUCE_OUTCOME_HELD, pb.PRODUCE_OUTCOME_WRITTEN
ACCEPTED = pb.CHECKPOINT_OUTCOME_ACCEPTED


def _life(guarantee: pb.Guarantee = pb.GUARANTEE_EXACTLY_ONCE, **limits: int) -> Life:
    welcome = pb.Welcome(guarantee=guarantee, limits=pb.Limits(**limits), max_state_bytes=4)
    return Life(1, 1, welcome=welcome, assigned=pb.Assigned(lease="a"), last_delivered=9)


def _request(*values: bytes, commit: int | None = None, **fields: Any) -> pb.ProduceRequest:
    entry = None if commit is None else pb.CheckpointEntry(offset=commit)
    return pb.ProduceRequest(lease="a", topics=["t"] if values else [], values=values, commit=entry, **fields)


@pytest.fixture
def made() -> Transactions:
    return Transactions(answers.Log())


def _seen(made: Transactions) -> list[tuple[int, list[bytes | None]]]:
    return [(commit.offset, [record.value for record in commit.records]) for commit in made.commits]


def test_records_wait_for_a_checkpoint(made: Transactions) -> None:
    response = made.produce(_request(b"a"), _life(), 0)
    assert ([*response.outcomes], [*response.offsets], response.HasField("commit")) == ([HELD], [-1], False)
    response = made.produce(_request(b"b", commit=3), _life(), 0)
    assert ([*response.outcomes], response.commit.outcome) == ([WRITTEN], ACCEPTED)
    assert _seen(made) == [(3, [b"a", b"b"])]
    assert made.held("a") == 0


def test_a_record_waits_for_the_checkpoint_at_its_source(made: Transactions) -> None:
    response = made.produce(_request(b"a", b"b", b"c", commit=3, sources=[4, 3, -1]), _life(), 0)
    assert [*response.outcomes] == [HELD, WRITTEN, WRITTEN]
    made.commit("a", 4)
    assert _seen(made) == [(3, [b"b", b"c"]), (4, [b"a"])]


def test_a_commit_may_have_no_records(made: Transactions) -> None:
    made.produce(_request(b"a"), _life(), 0)
    response = made.produce(_request(commit=1), _life(), 0)
    assert ([*response.outcomes], response.commit.outcome) == ([], ACCEPTED)
    assert _seen(made) == [(1, [b"a"])]


def test_a_commit_that_is_not_accepted_leaves_the_records_held(made: Transactions) -> None:
    response = made.produce(_request(b"a", commit=10), _life(), 0)
    assert [*response.outcomes] == [HELD]
    assert response.commit.outcome == pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED
    large = pb.CheckpointEntry(offset=1, state=b"12345")
    response = made.produce(pb.ProduceRequest(lease="a", commit=large), _life(), 0)
    assert response.commit.outcome == pb.CHECKPOINT_OUTCOME_STATE_TOO_LARGE
    assert (made.held("a"), made.commits) == (1, [])


def test_too_much_is_not_held(made: Transactions) -> None:
    life = _life(max_held_records=2)
    made.produce(_request(b"a", b"b"), life, 0)
    response = made.produce(_request(b"c", commit=1), life, 0)
    assert [*response.outcomes] == [pb.PRODUCE_OUTCOME_TOO_MUCH_HELD]
    assert (made.held("a"), made.commits) == (2, [])


def test_what_a_lease_held_ends_with_it(made: Transactions) -> None:
    made.produce(_request(b"a"), _life(), 0)
    made.drop("a")
    made.commit("a", 1)
    assert _seen(made) == [(1, [])]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (_request(), "values"),
        (_request(b"a", sources=[1, 2]), "sources"),
        (_request(b"a", sources=[-2]), "sources"),
        (pb.ProduceRequest(lease="a", commit=pb.CheckpointEntry()), "commit.offset"),
        (pb.ProduceRequest(lease="a", commit=pb.CheckpointEntry(offset=-1)), "commit.offset"),
        (pb.ProduceRequest(lease="a", commit=pb.CheckpointEntry(lease="b", offset=1)), "commit.lease"),
    ],
    ids=str,
)
def test_what_is_refused(request_: pb.ProduceRequest, field: str) -> None:
    with pytest.raises(InvalidFrameError, match=f"^{field}: "):
        transactions.check(request_, _life())


@pytest.mark.parametrize(
    ("request_", "field"), [(_request(b"a", commit=1), "commit"), (_request(b"a", sources=[1]), "sources")], ids=str
)
def test_what_needs_the_guarantee(request_: pb.ProduceRequest, field: str) -> None:
    with pytest.raises(InvalidFrameError, match=f"^{field}: "):
        transactions.check(request_, _life(pb.GUARANTEE_AT_LEAST_ONCE))
