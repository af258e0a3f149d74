"""The state that goes with a checkpoint, and comes back in Assigned."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.case import case
from sidecar.conformance.cases.produce import valued, written
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream

_MANY = 30


def _entries(stage: Stage, stream: Stream) -> list[pb.CheckpointEntry]:
    """All entries with an offset that calls of Checkpoint have had of this stream's lease."""
    requests = [call.request for call in stage.host.checkpoints.calls]
    return [
        entry
        for request in requests
        if isinstance(request, pb.CheckpointRequest)
        for entry in request.entries
        if entry.lease == stream.lease and entry.HasField("offset")
    ]


def _check_each(stage: Stage, stream: Stream) -> None:
    """With `state=each` the state of an entry is its offset."""
    for entry in _entries(stage, stream):
        shown = entry.state if entry.HasField("state") else None
        stage.check(shown == b"%d" % entry.offset, f"the checkpoint of {entry.offset} has the state {shown!r}")


@case("state-with-checkpoint", 53, "A checkpoint has the state that was given with it, also after many in a row.",
      section="state", do="checkpoint=1 state=each")  # fmt: skip
async def state_with_checkpoint(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    await stream.records(*range(1, _MANY))
    await stage.checkpointed(stream, _MANY - 1)
    _check_each(stage, stream)


@case("state-waits", 53, "A checkpoint that waits for an outcome keeps its own state.",
      section="state", do="send=out checkpoint=1 state=each")  # fmt: skip
async def state_waits(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    call, request = await stage.produce()
    await stream.records(*valued(1, 3))  # their checkpoints wait for a call that has not begun
    await stage.never(
        lambda: stream.life.told >= 0, "a checkpoint, and what was produced before it has no outcome", 29
    )
    call.answer(written(request))
    await stage.checkpointed(stream, 0)
    stage.check(stream.life.accepted == 0, "a checkpoint, and what was produced before it has no outcome", 29)
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 3)
    _check_each(stage, stream)


@case("state-not-again", 53, "A state that the sidecar has is left out of the checkpoints after it.",
      section="state", do="checkpoint=1 state=0:abc")  # fmt: skip
async def state_not_again(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    stage.check(stream.life.state == b"abc", f"the checkpoint of 0 has the state {stream.life.state!r}")
    for offset in (1, 2):
        await stream.records(offset)
        await stage.checkpointed(stream, offset)
    again = [entry.offset for entry in _entries(stage, stream) if entry.offset and entry.HasField("state")]
    stage.check(not again, f"the checkpoints of {again} have a state, which was given with 0 and has arrived")


@case("state-sent-again", 53, "A call fails: the state comes again, though a checkpoint without one was made since.",
      section="state", do="checkpoint=1 state=0:abc")  # fmt: skip
async def state_sent_again(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, _ = await stage.checkpoint()
    await stream.records(1)
    call.fail(grpc.StatusCode.UNAVAILABLE)
    stage.host.checkpoints.by_rule()
    await stage.checkpointed(stream, 1)
    stage.check(stream.life.state == b"abc", f"the state is {stream.life.state!r}: that of the failed call is lost")


@case("state-emptied", 53, "A state of no bytes is a state: it is sent, and replaces the one before.",
      section="state", do="checkpoint=1 state=1:")  # fmt: skip
async def state_emptied(stage: Stage) -> None:
    stream = await stage.running(state=b"before")
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    stage.check(stream.life.state is None, f"the checkpoint of 0 has the state {stream.life.state!r}")
    await stream.records(1)
    await stage.checkpointed(stream, 1)
    stage.check(
        stream.life.state == b"", f"the checkpoint of 1 has the state {stream.life.state!r}, not an empty one"
    )


@case("state-ahead", 53, "A state waits until its offset is delivered: no checkpoint below it has it.",
      section="state", do="ahead=0:4 state=4:abc", ahead=True)  # fmt: skip
async def state_ahead(stage: Stage) -> None:
    stream = await stage.running()
    for offset in range(4):
        await stream.records(offset)
        await stage.checkpointed(stream, offset, 20)
        stage.check(stream.life.state is None, f"the checkpoint of {offset} has the state that was given with 4")
    await stream.records(4)
    await stage.checkpointed(stream, 4, 20)
    stage.check(stream.life.state == b"abc", f"the checkpoint of 4 has the state {stream.life.state!r}")


@case("state-beyond", 53, "BEYOND_DELIVERED: the state of a checkpoint that is lowered is not sent with it.",
      section="state", do="ahead=1:9 state=9:abc", ahead=True)  # fmt: skip
async def state_beyond(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0, 1)
    call, request = await stage.checkpoint()
    # As a sidecar does that has not sent record 1 yet: what it has sent counts, not what the client says.
    lowered = [
        pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED, delivered=0) for _ in request.entries
    ]
    call.answer(pb.CheckpointResponse(results=lowered))
    stage.host.checkpoints.by_rule()
    await stream.records(2)
    await stage.checkpointed(stream, 2, 20)
    stage.check(stream.life.state is None, f"the checkpoint of {stream.life.accepted} has the state of 9")
    await stream.records(9)
    await stage.checkpointed(stream, 9, 20)
    stage.check(stream.life.state == b"abc", f"the checkpoint of 9 has the state {stream.life.state!r}")


@case("state-in-closed", 53, "The checkpoint that travels in Closed has its state.",
      section="state", do="copy=out closing=1 state=each")  # fmt: skip
async def state_in_closed(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1, 2)
    await stage.until(lambda: len(stage.written("out")) == 3, "three copies", 28)
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER)
    closed = await stage.closed(stream)
    last = closed.last_checkpoint
    stage.check(last.offset == 2 and last.state == b"2", f"Closed has offset {last.offset} and state {last.state!r}")


@case("state-in-error", 53, "The checkpoint that travels in Error has its state.",
      section="state", do="checkpoint=1 state=each fail=3:restart")  # fmt: skip
async def state_in_error(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, request = await stage.checkpoint()
    await stream.records(1, 2, 3)
    error = await stage.failed()
    call.answer(answers.checkpoints(request, stage.trace.lives, stage.trace.now))
    stage.host.checkpoints.by_rule()
    last = error.last_checkpoint
    stage.check(last.offset == 2 and last.state == b"2", f"Error has offset {last.offset} and state {last.state!r}")
    await stage.closed(stream, 25)


@case("state-of-assigned", 54, "The lambda gets the state of Assigned, of any bytes.", section="state", do="tell=out")
async def state_of_assigned(stage: Stage) -> None:
    for partition, state in enumerate((b"", b"abc", b"\x00\xff\n", bytes(2048))):
        stream = await stage.running(partition, state=state)
        await stream.records(0)
        told = (await stage.told("out", partition + 1)).rpartition(" ")[2]
        stage.check(
            told == (state.hex() or "''"), f"the lambda was told the state {told}, not {state.hex() or 'none'}"
        )


@case("state-fits-just", 54, "A state of `max_state_bytes` is taken.",
      section="state", do="checkpoint=1 state=0:12345678", max_state=8)  # fmt: skip
async def state_fits_just(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    stage.check(stream.life.state == b"12345678", f"the checkpoint of 0 has the state {stream.life.state!r}")
    stage.check(not stage.errors(), "a state of 8 bytes was refused, and 8 is the limit")


@case("state-too-large", 54, "A longer state is refused in the client; the refusal names both numbers.",
      section="state", do="checkpoint=1 state=1:123456789", max_state=8)  # fmt: skip
async def state_too_large(stage: Stage) -> None:
    await _refused(stage, "9", "8")


@case("state-not-kept", 54, "A sidecar that keeps no state: the client refuses each.",
      section="state", do="checkpoint=1 state=1:abc", max_state=0)  # fmt: skip
async def state_not_kept(stage: Stage) -> None:
    await _refused(stage)


async def _refused(stage: Stage, *numbers: str) -> None:
    """The state of record 1 is refused: the lambda reports that, and goes on without it."""
    stream = await stage.running()
    await stream.records(0, 1, 2)
    await stage.checkpointed(stream, 2)
    await stage.until(stage.errors, "the report that the state is refused")
    report = stage.errors()[0]
    stage.check(report.action == pb.ERROR_ACTION_REPORT and report.offset == 1, "the refusal was not reported at 1")
    for number in numbers:
        stage.check(number in report.message, f"the refusal {report.message!r} does not name {number}")
    stage.check(stream.life.state is None, f"the state {stream.life.state!r} was sent")
