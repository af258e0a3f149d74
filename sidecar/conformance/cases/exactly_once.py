"""Exactly-once: what goes with which checkpoint, when, and what HELD means."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.case import case
from sidecar.conformance.cases.produce import valued
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream

_COUNT = 40
_COPIES = "send=out checkpoint=1"
"""Each record is produced again, and then checkpointed."""


def check_together(stage: Stage) -> None:
    """After each transaction the copies of all records are visible that its checkpoint covers, and no others."""
    seen: list[int] = []
    for commit in stage.transactions.commits:
        seen += [int(record.value or b"-1") for record in commit.records]
        right = [*range(commit.offset + 1)]
        text = f"with checkpoint {commit.offset} the records {seen} are visible, in this order"
        stage.check(seen == right, text, 58)


@case("together", 58, "What was produced before a checkpoint becomes visible with it, and nothing after it.",
      section="exactly-once", exactly_once=True, do="send=out checkpoint=3")  # fmt: skip
async def together(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, _COUNT))
    last = _COUNT - _COUNT % 3 - 1
    await stage.checkpointed(stream, last)
    check_together(stage)
    stage.check(len(stage.written("out")) == last + 1, f"{len(stage.written('out'))} records are visible")


@case("together-awaited", 60, "Code that awaits each record goes on with HELD, and checkpoints it.",
      section="exactly-once", exactly_once=True, do="copy=out checkpoint=1")  # fmt: skip
async def together_awaited(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, _COUNT))
    await stage.checkpointed(stream, _COUNT - 1)
    check_together(stage)
    stage.check(len(stage.written("out")) == _COUNT, f"{len(stage.written('out'))} of {_COUNT} records are visible")
    stage.check(not stage.errors(), "HELD was taken for a failure")


@case("held-until-checkpoint", 58, "A record without a checkpoint after it is sent, and goes with the next one.",
      section="exactly-once", exactly_once=True, do="send=out checkpoint=4")  # fmt: skip
async def held_until_checkpoint(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, 3))
    await stage.until(lambda: stage.transactions.held(stream.lease) == 3, "three records, before any checkpoint")
    await stage.never(lambda: stage.transactions.commits, "a checkpoint was sent, and the lambda has made none", 16)
    await stream.records(*valued(3, 2))
    await stage.checkpointed(stream, 3)
    stage.check(len(stage.written("out")) == 4, f"with checkpoint 3 {len(stage.written('out'))} records are visible")


@case("one-commit-at-a-time", 58, "While a transaction is under way, records and checkpoints wait, each for its own.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def one_commit_at_a_time(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    await stage.produce()
    await stream.records(*valued(1, 20))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way", 28)
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 20)
    check_together(stage)


@case("commit-by-parts", 58, "More than one request may have: only the last one has the checkpoint.",
      section="exactly-once", exactly_once=True, do=_COPIES, limits={"max_produce_records": 7})  # fmt: skip
async def commit_by_parts(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    await stage.produce()
    await stream.records(*valued(1, 40))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way", 28)
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 40)
    check_together(stage)
    most = max(len(request.values) for request in stage.writes())
    stage.check(most <= 7, f"a request has {most} records, and Limits.max_produce_records is 7", 31)


@case("checkpoint-alone", 59, "A lambda that produces nothing checkpoints as ever, in few calls.",
      section="exactly-once", exactly_once=True, do="checkpoint=1")  # fmt: skip
async def checkpoint_alone(stage: Stage) -> None:
    streams = [await stage.running(partition) for partition in range(3)]
    for stream in streams:
        await stream.records(*valued(0, _COUNT))
    for stream in streams:
        await stage.checkpointed(stream, _COUNT - 1)
    calls = len(stage.host.checkpoints.calls) + len(stage.writes())
    stage.check(calls <= 30, f"{calls} calls for {_COUNT} checkpoints of each of three partitions")


@case("checkpoint-before-records", 59, "A checkpoint that was made before a record is committed without it.",
      section="exactly-once", exactly_once=True, do="checkpoint=1 send=out")  # fmt: skip
async def checkpoint_before_records(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, 10))
    await stage.checkpointed(stream, 9)
    # The next part of the log comes while the last transaction may still be under way.
    for first in range(10, 100, 10):
        await stream.records(*valued(first, 10))
    await stage.checkpointed(stream, 99)
    check_together(stage)


@case("checkpoint-waits-for-held", 59, "No checkpoint, in no call, while what was produced before it has no answer.",
      section="exactly-once", exactly_once=True, do="send=out checkpoint=2")  # fmt: skip
async def checkpoint_waits_for_held(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    _, request = await stage.produce()
    stage.check(not request.HasField("commit"), "a commit, and the lambda has made no checkpoint", 16)
    await stream.records(*valued(1, 1))  # its checkpoint waits for the call that is under way
    await stage.never(lambda: stream.life.told >= 0, "a checkpoint, and what was produced before it has no answer")
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 1)
    stage.check(
        len(stage.written("out")) == 2, f"with checkpoint 1 {len(stage.written('out'))} records are visible", 58
    )


@case("held-in-closed", 59, "Closed has no checkpoint while what was produced before it has no answer.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def held_in_closed(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    await stage.produce()
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER, 2_000)
    closed = await stage.closed(stream, 14)
    text = "Closed has a checkpoint; what was produced before it has no answer"
    stage.check(not closed.last_checkpoint.HasField("offset"), text)


@case("commit-in-drain", 59, "Revoked while a transaction is under way: it is awaited, and its checkpoint counts.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def commit_in_drain(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    await stage.produce()
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER, 8_000)
    await stage.trace.until(lambda: stream.waiting, 0.5)
    stage.host.produces.by_rule()
    await stage.closed(stream, 14)
    stage.check(stream.life.accepted == 0, "the checkpoint of record 0 is lost, though the transaction came in time")
    check_together(stage)
    stage.check(len(stage.written("out")) == 1, "the output of record 0 is not visible, and its checkpoint is", 58)


@case("failing-record-is-not-visible", 59, "The lambda fails: what it produced at that record is never visible.",
      section="exactly-once", exactly_once=True, do="send=out checkpoint=1 closing=1 fail=5:restart")  # fmt: skip
async def failing_record_is_not_visible(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, 6))
    await stage.failed()
    await stage.closed(stream, 25)
    check_together(stage)
    stage.check(
        len(stage.written("out")) == stream.life.accepted + 1, "more is visible than the checkpoint covers", 58
    )


@case("state-with-commit", 53, "With exactly-once a checkpoint has its state as well.",
      section="exactly-once", exactly_once=True, do="send=out checkpoint=1 state=each")  # fmt: skip
async def state_with_commit(stage: Stage) -> None:
    stream = await stage.running()
    for first in (0, 10, 20):
        await stream.records(*valued(first, 10))
        await stage.checkpointed(stream, first + 9)
        kept = stream.life.state
        stage.check(kept == b"%d" % (first + 9), f"the checkpoint of {first + 9} has the state {kept!r}")
    check_together(stage)


@case("guarantee-is-told", 58, "The lambda can read the guarantee.", section="exactly-once", exactly_once=True,
      do="tell=out checkpoint=1")  # fmt: skip
async def guarantee_is_told(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    told = (await stage.told("out", 1)).split(" ")[1]
    stage.check(told == "exactly-once", f"the lambda was told the guarantee {told}")


@case("sources", 61, "Each record names its source, and waits for the checkpoint at it.",
      section="exactly-once", exactly_once=True, do="send=out source=each checkpoint=3")  # fmt: skip
async def sources(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, 9))
    await stage.checkpointed(stream, 8)
    _check_sources(stage, stream, range(9))
    stage.check(
        len(stage.written("out")) == 9, f"with checkpoint 8 {len(stage.written('out'))} of 9 records are visible"
    )


@case("some-sources", 61, "A record without a source says -1 beside one that has one.",
      section="exactly-once", exactly_once=True, do="send=out source=1 checkpoint=3")  # fmt: skip
async def some_sources(stage: Stage) -> None:
    stage.host.produces.by_hand()  # so that records with and without a source share a request
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    await stage.produce()
    await stream.records(*valued(1, 5))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way", 28)
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 5)
    _check_sources(stage, stream, [1])


def _check_sources(stage: Stage, stream: Stream, right: range | list[int]) -> None:
    """Records of these offsets have themselves as the source, and no other has one."""
    for request in stage.writes():
        found = [*request.sources] or [-1] * len(request.values)
        offsets = [int(value) for value in request.values]
        wanted = [offset if offset in right else -1 for offset in offsets]
        stage.check(found == wanted, f"the records of {offsets} have the sources {found}")
    stage.check(stream.life.accepted >= 0, "nothing was committed", 58)


@case("no-sources", 61, "With at-least-once no source is sent.", section="exactly-once",
      do="copy=out source=each checkpoint=1")  # fmt: skip
async def no_sources(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*valued(0, 3))
    await stage.checkpointed(stream, 2)
    stage.check(stage.written("out") == [b"0", b"1", b"2"], f"written: {stage.written('out')!r}", 28)


@case("too-much-held", 60, "TOO_MUCH_HELD is a failure: told to code that awaits, and not sent again.",
      section="exactly-once", exactly_once=True, do="copy=out checkpoint=1")  # fmt: skip
async def too_much_held(stage: Stage) -> None:
    await _too_much(stage)
    error = await stage.failed(60)
    stage.check(error.action == pb.ERROR_ACTION_RESTART and error.offset == 0, "Error is not RESTART at record 0")
    stage.check(stage.asked("out") == 1, "records that are too much were sent again")


@case("too-much-held-unawaited", 60, "TOO_MUCH_HELD, and nobody awaits: Error RESTART, and no checkpoint.",
      section="exactly-once", exactly_once=True, do=_COPIES)  # fmt: skip
async def too_much_held_unawaited(stage: Stage) -> None:
    stream = await _too_much(stage)
    error = await stage.failed(60)
    stage.check(error.action == pb.ERROR_ACTION_RESTART, "Error.action is not RESTART")
    await stage.closed(stream, 25)
    stage.check(stream.life.accepted < 0, "a checkpoint, and what was produced before it is not held", 59)


@case("too-much-held-taken", 60, "TOO_MUCH_HELD, and the lambda has taken it: it goes on.",
      section="exactly-once", exactly_once=True, do="try=out checkpoint=1")  # fmt: skip
async def too_much_held_taken(stage: Stage) -> None:
    stream = await _too_much(stage)
    await stage.checkpointed(stream, 0)
    stage.check(not stage.errors(), "an Error, though the lambda has taken the failure")
    stage.check(stage.asked("out") == 1, "records that are too much were sent again")


async def _too_much(stage: Stage) -> Stream:
    """What the lambda produces at record 0 is too much."""
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    call, request = await stage.produce()
    text = "too much waits for a checkpoint"
    call.answer(answers.nothing_written(len(request.values), pb.PRODUCE_OUTCOME_TOO_MUCH_HELD, text))
    stage.host.produces.by_rule()
    return stream
