"""Records that can never be written, in calls of a lambda with exactly-once."""

from __future__ import annotations

import asyncio

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.outgoing import Outcome, Outgoing, Written
from sidecar.partitions.vocabulary import CheckpointOutcome, Progress
from sidecar.server import transacting
from sidecar.server.producing import AskedToHold

GOOD = Outgoing("out", None, b"good", -1, ())
BAD = Outgoing("out", None, b"bad", -1, (), "a header's name is not UTF-8")


def asked(*records: Outgoing, sources: tuple[int, ...] = (), commit: int | None = None) -> AskedToHold:
    request = pb.ProduceRequest(lease="l", topics=["out"], sources=sources)
    return AskedToHold(request, records, None if commit is None else Progress(commit), 100)


async def test_without_a_checkpoint_it_is_refused_at_once_and_the_others_are_held() -> None:
    held = transacting.new_held()
    answer = await transacting.produce(held, asked(BAD, GOOD), Mailbox())
    response = pb.ProduceResponse.FromString(answer)
    assert response.outcomes == [pb.PRODUCE_OUTCOME_FAILED, pb.PRODUCE_OUTCOME_HELD]
    assert response.errors == [BAD.refusal, ""]
    assert held.count == 1


async def _transact(request: AskedToHold) -> tuple[list[Outgoing], pb.ProduceResponse]:
    """What goes into the transaction, and the response after it was aborted."""
    mailbox, held = Mailbox(), transacting.new_held()
    call = asyncio.create_task(transacting.produce(held, request, mailbox))
    await asyncio.sleep(0)
    letter = mailbox.take(0)
    assert isinstance(letter, letters.Commit)
    assert letter.unit is not None
    records = [*letter.unit.records]
    count = len(records)
    errors = [record.refusal or "aborted" for record in records]
    written = Written([Outcome.FAILED] * count, [-1] * count, [-1] * count, errors)
    letter.unit.reply.future.set_result(letters.UnitAnswer(CheckpointOutcome.STALE_LEASE, None, written))
    return records, pb.ProduceResponse.FromString(await call)


async def test_with_a_checkpoint_it_goes_into_the_transaction_which_it_aborts() -> None:
    records, response = await _transact(asked(GOOD, BAD, commit=7))
    assert records == [GOOD, BAD]
    assert response.outcomes == [pb.PRODUCE_OUTCOME_FAILED] * 2
    assert response.errors == ["aborted", BAD.refusal]
    assert response.commit.outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE


async def test_one_that_the_checkpoint_does_not_cover_is_refused_at_once() -> None:
    records, response = await _transact(asked(GOOD, BAD, sources=(7, 8), commit=7))
    assert records == [GOOD]
    assert response.errors == ["aborted", BAD.refusal]
