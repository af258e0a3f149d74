"""What no sidecar may send is found, and what the sidecar sends is not."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.host_side import HostSide
from sidecar.conformance.records import Rec, batch_of
from sidecar.server.limits import limits


class Play:
    """Feeds `HostSide` with the events of one stream."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._side = HostSide()
        self._calls = 0

    def add(self, kind: Kind, message: Message | None = None, **fields: Any) -> None:
        self.faults += self._side.see(Event(0, kind, message=message, **fields))

    def sent(self, **arm: Any) -> None:
        self.add(Kind.SENT, pb.HostFrame(**arm), stream=1)

    def frame(self, **arm: Any) -> None:
        self.add(Kind.FRAME, pb.LambdaFrame(**arm), stream=1)

    def call(self, request: Message, response: Message) -> None:
        self._calls += 1
        self.add(Kind.CALL, request, call=self._calls)
        self.add(Kind.ANSWERED, response, call=self._calls)


def _welcome(**changed: Any) -> pb.Welcome:
    fields = {
        "settings_json": "{}",
        "protocol_version": 1,
        "window_messages": 10,
        "window_bytes": 1,
        "max_frame_bytes": 1,
        "sidecar_version": "1",
        "window_span": 1,
        "limits": limits(4, 1000),
        "guarantee": pb.GUARANTEE_AT_LEAST_ONCE,
    }
    return pb.Welcome(**{**fields, **changed})


@pytest.fixture
def play() -> Play:
    """A stream with a partition, ready."""
    made = Play()
    made.add(Kind.OPENED, stream=1)
    made.frame(offer=pb.Offer(lambda_name="l", process_id="p"))
    made.sent(welcome=_welcome())
    made.frame(available=pb.Available())
    made.sent()
    made.sent(assigned=pb.Assigned(lease="a", topic="t", start_offset=0, attempt=1))
    made.frame(ready=pb.Ready(lease="a"))
    return made


def test_a_life_in_order(play: Play) -> None:
    play.sent(batch=batch_of([Rec(0), Rec(1, None)]))
    play.sent(batch=batch_of([Rec(5, None, None)]))
    play.frame(pause=pb.Pause(number=1, offset=1))
    play.sent(resumed=pb.Resumed(number=1, from_offset=1))
    play.sent(batch=batch_of([Rec(1)]))
    accepted = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)
    entry = pb.CheckpointEntry(lease="a", offset=1)
    play.call(pb.CheckpointRequest(entries=[entry]), pb.CheckpointResponse(results=[accepted]))
    play.sent(revoked=pb.Revoked(reason=pb.REVOKE_REASON_PAUSED, deadline_ms=1))
    play.frame(closed=pb.Closed(reason=pb.CLOSED_REASON_REVOKED))
    play.add(Kind.ENDED, stream=1, note="OK")
    assert play.faults == []


@pytest.mark.parametrize(
    "arm",
    [
        {"welcome": _welcome()},
        {"assigned": pb.Assigned(lease="b", topic="t", attempt=1)},
        {},
        {"resumed": pb.Resumed(number=1)},
        {"revoked": pb.Revoked(reason=pb.REVOKE_REASON_LOST, deadline_ms=5)},
        {"revoked": pb.Revoked(reason=pb.REVOKE_REASON_PAUSED)},
        {"revoked": pb.Revoked(deadline_ms=5)},
        {"batch": pb.Batch()},
        {"batch": pb.Batch(first_offset=0, values=[b""])},
        {"batch": pb.Batch(first_offset=0, values=[b""], timestamps=[1], keys=[b""], null_keys=[0])},
        {"batch": pb.Batch(first_offset=0, values=[b"x"], timestamps=[1], null_values=[0])},
        {"batch": pb.Batch(first_offset=0, offsets=[1], values=[b"x"], timestamps=[1])},
        {"batch": pb.Batch(values=[b""] * 2, offsets=[0, 0], timestamps=[1, 1])},
        {"batch": pb.Batch(values=[b""], timestamps=[1], header_counts=[2], header_names=[b""], header_values=[b""])},
        {"batch": batch_of([Rec(offset) for offset in range(11)])},
        {"committed": pb.Committed(offset=0)},
    ],
    ids=str,
)
def test_a_frame_that_no_sidecar_sends(play: Play, arm: dict[str, Message]) -> None:
    play.sent(**arm)
    assert len(play.faults) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"settings_json": "1"},
        {"window_messages": 0},
        {"protocol_version": 2},
        {"limits": pb.Limits()},
        {"capabilities": ["committed"]},
        {"guarantee": pb.GUARANTEE_UNSPECIFIED},
    ],
    ids=str,
)
def test_a_welcome_that_no_sidecar_sends(changed: dict[str, Any]) -> None:
    play = Play()
    play.add(Kind.OPENED, stream=1)
    play.frame(offer=pb.Offer(lambda_name="l", process_id="p"))
    play.sent(welcome=_welcome(**changed))
    assert len(play.faults) == 1


def test_records_twice(play: Play) -> None:
    play.sent(batch=batch_of([Rec(0), Rec(1)]))
    play.sent(batch=batch_of([Rec(1)]))
    assert play.faults == ["stream 1: Batch begins at 1, and 1 came before"]


def test_records_after_revoked(play: Play) -> None:
    play.sent(revoked=pb.Revoked(reason=pb.REVOKE_REASON_LOST))
    play.sent(batch=batch_of([Rec(0)]))
    assert len(play.faults) == 1


def test_ok_before_the_client_has_ended(play: Play) -> None:
    play.add(Kind.ENDED, stream=1, note="OK")
    assert len(play.faults) == 1


_ENTRY = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="a", offset=0)])
_ONE = pb.ProduceRequest(lease="a", topics=["t"], values=[b""])
_RESTART = pb.ErrorRequest(lease="a", action=pb.ERROR_ACTION_RESTART)


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (_ENTRY, pb.CheckpointResponse()),
        (_ENTRY, pb.CheckpointResponse(results=[pb.CheckpointResult()])),
        (_ENTRY, pb.CheckpointResponse(results=[pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)])),
        (
            _ENTRY,
            pb.CheckpointResponse(results=[pb.CheckpointResult(outcome="CHECKPOINT_OUTCOME_ACCEPTED", delivered=1)]),
        ),
        (_RESTART, pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_REPORTED)),
        (_RESTART, pb.ErrorResponse()),
        (_RESTART, pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_HALTED, retry_after_ms=1)),
        (_ONE, pb.ProduceResponse()),
        (_ONE, pb.ProduceResponse(outcomes=["PRODUCE_OUTCOME_WRITTEN"], partitions=[0], offsets=[-1])),
        (_ONE, pb.ProduceResponse(outcomes=["PRODUCE_OUTCOME_FAILED"], partitions=[-1], offsets=[-1])),
        (_ONE, pb.ProduceResponse(outcomes=["PRODUCE_OUTCOME_BUSY"], partitions=[-1], offsets=[-1], errors=["busy"])),
        (_ONE, pb.ErrorResponse()),
    ],
    ids=str,
)
def test_an_answer_that_no_sidecar_gives(play: Play, request_: Message, response: Message) -> None:
    play.call(request_, response)
    assert len(play.faults) == 1


def test_a_dead_lease_is_stale(play: Play) -> None:
    play.call(_RESTART, pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING, retry_after_ms=5))
    stale = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)
    play.call(_ENTRY, pb.CheckpointResponse(results=[stale]))
    assert play.faults == []
    accepted = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)
    play.call(_ENTRY, pb.CheckpointResponse(results=[accepted]))
    assert len(play.faults) == 1


@pytest.mark.parametrize(
    "assigned",
    [pb.Assigned(lane=2, lanes=2), pb.Assigned(state=b"12345")],
    ids=str,
)
def test_an_assigned_that_no_sidecar_sends(assigned: pb.Assigned) -> None:
    play = Play()
    play.add(Kind.OPENED, stream=1)
    play.frame(offer=pb.Offer(lambda_name="l", process_id="p"))
    play.sent(welcome=_welcome(max_state_bytes=4))
    play.frame(available=pb.Available())
    assigned.MergeFrom(pb.Assigned(lease="a", topic="t", attempt=1))
    play.sent(assigned=assigned)
    assert len(play.faults) == 1


def _exact(guarantee: pb.Guarantee) -> Play:
    """A ready stream of a client with all capabilities."""
    play = Play()
    play.add(Kind.OPENED, stream=1)
    play.frame(offer=pb.Offer(lambda_name="l", process_id="p", capabilities=["committed", "exactly-once"]))
    play.sent(welcome=_welcome(guarantee=guarantee, capabilities=["committed", "exactly-once"]))
    play.frame(available=pb.Available())
    play.sent(assigned=pb.Assigned(lease="a", topic="t", start_offset=0, attempt=1))
    play.frame(ready=pb.Ready(lease="a"))
    play.sent(batch=batch_of([Rec(0), Rec(1)]))
    return play


_COMMIT = pb.CheckpointEntry(offset=1)
_ACCEPTED = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)
_HELD = pb.ProduceResponse(outcomes=[pb.PRODUCE_OUTCOME_HELD], partitions=[-1], offsets=[-1])
_WRITTEN = pb.ProduceResponse(outcomes=[pb.PRODUCE_OUTCOME_WRITTEN], partitions=[0], offsets=[0])


def test_transactions_and_what_is_committed() -> None:
    play = _exact(pb.GUARANTEE_EXACTLY_ONCE)
    request = pb.ProduceRequest(lease="a", topics=["t"], values=[b"x"])
    play.call(request, _HELD)
    request.commit.CopyFrom(_COMMIT)
    response = pb.ProduceResponse()
    response.CopyFrom(_WRITTEN)
    response.commit.CopyFrom(_ACCEPTED)
    play.call(request, response)
    play.sent(committed=pb.Committed(offset=1))
    assert play.faults == []
    play.sent(committed=pb.Committed(offset=1))
    assert len(play.faults) == 1, "it was committed before"


@pytest.mark.parametrize(
    ("guarantee", "response"),
    [
        (pb.GUARANTEE_AT_LEAST_ONCE, _HELD),
        (pb.GUARANTEE_EXACTLY_ONCE, _WRITTEN),
        (pb.GUARANTEE_EXACTLY_ONCE, pb.ProduceResponse.FromString(_HELD.SerializeToString() + b"\x32\x02\x08\x01")),
    ],
    ids=str,
)
def test_an_answer_of_another_guarantee(guarantee: pb.Guarantee, response: pb.ProduceResponse) -> None:
    play = _exact(guarantee)
    play.call(pb.ProduceRequest(lease="a", topics=["t"], values=[b"x"]), response)
    assert len(play.faults) == 1
