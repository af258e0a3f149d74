"""The calls of lambdas with exactly-once: what they produce is held until a checkpoint. Runs on the event loop.

`held.py` decides which records go with which checkpoint. The consumer thread decides whether the checkpoint counts,
and the transactions thread writes both.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import cast

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.outgoing import Written
from sidecar.partitions.vocabulary import CheckpointOutcome, Lease, Progress
from sidecar.server.frames import cut
from sidecar.server.held import NEXT, Held, Lent
from sidecar.server.producing import (
    BUSY_FULL_MS,
    MAX_ERROR_BYTES,
    MAX_HELD_BYTES,
    MAX_HELD_RECORDS,
    STALE,
    AskedToHold,
    nothing_written,
)

_TOO_MUCH = (
    f"more than {MAX_HELD_RECORDS} records or {MAX_HELD_BYTES} bytes would wait for a checkpoint of this lease; "
    "checkpoint more often"
)

_ON_ITS_WAY = "too much of this lease is on its way to Kafka; nothing was taken, ask again soon"

_ENDED = frozenset({CheckpointOutcome.ACCEPTED, CheckpointOutcome.ACCEPTED_DRAINING, CheckpointOutcome.STALE_LEASE})
"""With any other there was no transaction."""


def new_held() -> Held:
    """What a lease holds at its beginning."""
    return Held(MAX_HELD_RECORDS, MAX_HELD_BYTES)


def unit_of(held: Held | None, lease: Lease | None, last: Progress | None) -> letters.Unit | None:
    """What is held and goes with a checkpoint that came without records; None: nothing does."""
    if held is None or lease is None or last is None:
        return None
    lent = held.take_if_new(last.offset)
    return None if lent is None else _unit(held, lease, lent)


async def produce(held: Held, request: AskedToHold, mailbox: Mailbox) -> bytes:
    """Carry out the call Produce. Returns the serialized response, after the transaction if there is one."""
    if held.is_busy and request.count:
        busy = pb.PRODUCE_OUTCOME_BUSY
        return nothing_written(request.count, busy, _ON_ITS_WAY, BUSY_FULL_MS)
    commit = request.commit
    refused = _refused_now(request)
    records, sources = request.records, request.sources
    if refused:
        records = [record for index, record in enumerate(records) if index not in refused]
        sources = [source for index, source in enumerate(sources) if index not in refused]
    call = held.add(records, sources, request.size, None if commit is None else commit.offset)
    if call is None:
        return nothing_written(request.count, pb.PRODUCE_OUTCOME_TOO_MUCH_HELD, _TOO_MUCH)
    columns = _Columns(request.count, refused)
    if commit is None:
        return columns.response(None)
    assert commit.offset is not None
    lent = held.take(commit.offset)
    unit = _unit(held, request.lease, lent)
    mailbox.put(letters.Commit(commit, unit))
    # Shielded: the call may be cancelled, and the transaction goes on.
    answer = await asyncio.shield(unit.reply.future)
    if answer.written is not None:
        columns.fill(lent.of_call(call), answer.written)
    elif answer.outcome is CheckpointOutcome.STALE_LEASE:
        stale = pb.PRODUCE_OUTCOME_STALE_LEASE
        return nothing_written(request.count, stale, STALE, commit=_result(answer))
    return columns.response(_result(answer))


def _refused_now(request: AskedToHold) -> dict[int, str]:
    """Why records are not held, by their indexes: they can never be written.

    One that goes with the checkpoint of the call is taken all the same, and aborts the transaction. Otherwise the
    checkpoint would pass a record that is not written, before its lambda knows of it.
    """
    covered = -2 if request.commit is None else request.commit.offset or 0
    return {
        index: record.refusal
        for index, record in enumerate(request.records)
        if record.refusal and (request.sources[index] if request.sources else NEXT) > covered
    }


def _unit(held: Held, lease: Lease, lent: Lent) -> letters.Unit:
    unit = letters.Unit(lease, lent.records, letters.Reply())
    unit.reply.future.add_done_callback(partial(_answered, held, lent))
    return unit


def _answered(held: Held, lent: Lent, future: "asyncio.Future[letters.UnitAnswer]") -> None:
    """The consumer thread answered, or has ended."""
    if not future.cancelled() and future.exception() is None and future.result().outcome not in _ENDED:
        held.give_back(lent)
    else:
        held.settle(lent)


def _result(answer: letters.UnitAnswer) -> pb.CheckpointResult:
    return pb.CheckpointResult(outcome=cast("pb.CheckpointOutcome", answer.outcome), delivered=answer.delivered)


class _Columns:
    """The columns of a response; at first the records are held, but for the ``refused`` ones, by their index."""

    def __init__(self, count: int, refused: dict[int, str]) -> None:
        self._outcomes: list[int] = [pb.PRODUCE_OUTCOME_HELD] * count
        self._partitions = [-1] * count
        self._offsets = [-1] * count
        self._errors = [""] * count
        self._taken = [index for index in range(count) if index not in refused]
        """The index in the request of each record that was taken."""
        for index, text in refused.items():
            self._outcomes[index], self._errors[index] = pb.PRODUCE_OUTCOME_FAILED, text

    def fill(self, where: dict[int, int], written: Written) -> None:
        """These records were in a transaction. ``where``: the index in ``written``, by that among those taken."""
        earlier = _first_error(written, {*where.values()})
        for own, index in where.items():
            at = self._taken[own]
            self._outcomes[at] = written.outcomes[index]
            self._partitions[at], self._offsets[at] = written.partitions[index], written.offsets[index]
            self._errors[at] = earlier or written.errors[index]

    def response(self, commit: pb.CheckpointResult | None) -> bytes:
        """Serialized."""
        errors: Sequence[str] = self._errors
        return pb.ProduceResponse(
            outcomes=self._outcomes,  # type: ignore[arg-type]  # the numbers are those of the enum
            partitions=self._partitions,
            offsets=self._offsets,
            errors=[cut(error, MAX_ERROR_BYTES) for error in errors] if any(errors) else [],
            commit=commit,
        ).SerializeToString()


def _first_error(written: Written, own: set[int]) -> str:
    """Why a record of an earlier call was not written, if no record of this one has a reason; empty: none."""
    failed = [index for index, error in enumerate(written.errors) if error]
    if any(index in own for index in failed):
        return ""
    return f"a record of an earlier call was refused: {written.errors[failed[0]]}" if failed else ""
