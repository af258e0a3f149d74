"""Exactly-once: transactions that are aborted, refused, or that nobody answers for."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.case import case
from sidecar.conformance.cases.exactly_once import check_together
from sidecar.conformance.cases.produce import valued
from sidecar.conformance.desk import Call
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream

_COPIES = "send=out checkpoint=1"


async def _committing(stage: Stage) -> tuple[Stream, Call, pb.ProduceRequest]:
    """A partition whose lambda has sent a request with a commit, which waits for an answer."""
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    while True:  # the first requests may have come before the checkpoint was made
        call, request = await stage.produce("a request with `commit`", 58)
        if request.HasField("commit"):
            return stream, call, request
        life = stream.life
        call.answer(stage.transactions.produce(request, life, stage.trace.now))
        if stream.life.told >= 0:  # its checkpoint went in a call of its own
            await stage.checkpointed(stream, 0)
            await stream.records(*valued(life.last_delivered + 1, 1))


@case("aborted", 15, "REVOKE_REASON_ABORTED: what was done is void. Closed comes within 10 s, and no checkpoint.",
      section="exactly-once", exactly_once=True, do="take=each:100 send=out checkpoint=1")  # fmt: skip
async def aborted(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, 100))
    await stage.checkpointed(stream, 1)
    await stream.revoke(pb.REVOKE_REASON_ABORTED, 0)
    done = stream.life.accepted
    closed = await stage.closed(stream, 15, 11)
    stage.check(closed.reason == pb.CLOSED_REASON_REVOKED, "Closed has another reason than REVOKED")
    stage.check(not closed.last_checkpoint.HasField("offset"), "Closed has a checkpoint, and its transaction is void")
    again = await stage.running(0, done + 1)
    await again.records(*valued(done + 1, 1))
    await stage.checkpointed(again, done + 1)


@case("aborted-commit", 15, "Call and stream both say that the transaction was aborted: one end, no Error.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def aborted_commit(stage: Stage) -> None:
    stream, call, request = await _committing(stage)
    response = answers.nothing_written(len(request.values), pb.PRODUCE_OUTCOME_FAILED, "the transaction was aborted")
    response.commit.outcome = pb.CHECKPOINT_OUTCOME_STALE_LEASE
    done = stream.life.accepted
    call.answer(response)
    await stream.revoke(pb.REVOKE_REASON_ABORTED, 0)
    stage.host.produces.by_rule()
    closed = await stage.closed(stream, 15, 11)
    stage.check(not closed.last_checkpoint.HasField("offset"), "Closed has a checkpoint, and its transaction is void")
    stage.check(stream.life.accepted == done, "a checkpoint counts whose transaction is void")
    again = await stage.running(0, done + 1)
    await again.records(*valued(done + 1, 1))
    await stage.checkpointed(again, done + 1)


@case("commit-never-answered", 34, "A call with a commit breaks: Error RESTART, and it is not sent again.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def commit_never_answered(stage: Stage) -> None:
    stream, call, request = await _committing(stage)
    sent, done = len(stage.writes()), stream.life.accepted
    call.fail(grpc.StatusCode.UNAVAILABLE)
    stage.host.produces.by_rule()
    await stage.until(lambda: stage.errors() or len(stage.writes()) > sent, "a call of Error", 30)
    again = [one for one in stage.writes()[sent:] if one.commit.offset >= request.commit.offset]
    stage.check(not again, "a commit that ended without an answer was sent again")
    stage.check(stage.errors()[0].action == pb.ERROR_ACTION_RESTART, "Error.action is not RESTART", 30)
    await stage.closed(stream, 25)
    stage.check(stream.life.accepted == done, "a checkpoint, and what was produced before it has no answer", 59)


@case("commit-is-busy", 32, "BUSY: the same records come again with their checkpoint, after the time that it names.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def commit_is_busy(stage: Stage) -> None:
    stream, call, request = await _committing(stage)
    answered = stage.trace.now
    call.answer(answers.nothing_written(len(request.values), pb.PRODUCE_OUTCOME_BUSY, "busy", 300))
    await stream.records(*valued(stream.life.last_delivered + 1, 3))
    call, again = await stage.produce("the records after BUSY", 32)
    stage.check(stage.trace.now - answered > 0.24, "sent again before `retry_after_ms` was over")
    same = again.values[: len(request.values)] == request.values
    stage.check(same, f"{[*request.values]!r} was BUSY, and {[*again.values]!r} came next")
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, stream.life.last_delivered)
    check_together(stage)


@case("commit-beyond-delivered", 20, "A commit beyond what was delivered comes again, its records do not.",
      section="exactly-once", exactly_once=True, do="send=out ahead=0:3", ahead=True)  # fmt: skip
async def commit_beyond_delivered(stage: Stage) -> None:
    stream = await stage.running()
    for offset in range(4):
        await stream.records(*valued(offset, 1))
        await stage.checkpointed(stream, offset, 20)
    await stage.until(lambda: len(stage.written("out")) >= 1, "the output of record 0, with a checkpoint", 58)
    values = [value for request in stage.writes() for value in request.values]
    stage.check(len(values) == len(set(values)), f"the records were sent as {values!r}", 34)
