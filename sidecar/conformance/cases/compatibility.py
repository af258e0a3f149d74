"""What a newer sidecar may send: fields, frames, numbers and capabilities that a client does not know."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec, batch_of
from sidecar.conformance.stage import Stage

_FIELD = b"\xfa\x3e\x03new"
"""Field 1007, which this version does not have, with the bytes `new`."""


def _nested(field: int, inner: bytes) -> bytes:
    """A message with one field that is a message."""
    return bytes([field << 3 | 2]) + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@case(
    "unknown-frame",
    50,
    "A frame of an unknown kind is ignored, on a spare stream and with a partition.",
    do="checkpoint=1",
)
async def unknown_frame(stage: Stage) -> None:
    spare = await stage.spare()
    await spare.send_bytes(_FIELD)
    stream = await stage.running(rule=50)
    await stream.send_bytes(_FIELD)
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("unknown-fields", 50, "Unknown fields of known messages are ignored.", do="copy=out checkpoint=1")
async def unknown_fields(stage: Stage) -> None:
    stream = await stage.running()
    batch = batch_of([Rec(0, b"k", b"v")]).SerializeToString()
    await stream.send_bytes(_nested(3, batch + _FIELD) + _FIELD, pb.HostFrame(batch=batch_of([Rec(0)])))
    await stage.checkpointed(stream, 0)
    stage.check(stage.written("out") == [b"v"], f"the record was copied as {stage.written('out')!r}")


@case(
    "unknown-in-welcome",
    50,
    "A Welcome with more fields, capabilities and limits is taken.",
    starts=False,
    do="checkpoint=1",
)
async def unknown_in_welcome(stage: Stage) -> None:
    stage.welcome.capabilities.extend(["of-a-newer-version"])
    data = stage.welcome.SerializeToString()
    stage.welcome = pb.Welcome.FromString(
        data + _FIELD + _nested(9, stage.welcome.limits.SerializeToString() + _FIELD)
    )
    await stage.program.start()
    await stage.spare(rule=50)
    stream = await stage.running(rule=50)
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("limits-absent", 50, "A sidecar that tells no limits: the client goes on with those it knows.",
      starts=False, do="copy=out checkpoint=1")  # fmt: skip
async def limits_absent(stage: Stage) -> None:
    stage.welcome.ClearField("limits")
    await stage.program.start()
    await stage.spare(rule=50)
    stream = await stage.running(rule=50)
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case(
    "capability-absent",
    50,
    "The sidecar accepts none of the client's capabilities: it works without them.",
    do="checkpoint=1",
    capabilities=False,
    max_state=0,
)
async def capability_absent(stage: Stage) -> None:
    stream = await stage.running()
    stage.check(stream.life.welcome and not stream.life.welcome.capabilities, "the kit accepted a capability")
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case(
    "unknown-error-outcome",
    50,
    "Error is answered with an unknown outcome: Closed(ERROR) follows.",
    do="fail=0:restart",
)
async def unknown_error_outcome(stage: Stage) -> None:
    stage.host.errors.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, _ = await stage.error()
    call.answer(pb.ErrorResponse.FromString(b"\x08\x63"))  # outcome 99
    closed = await stage.closed(stream, 25)
    stage.check(closed.reason == pb.CLOSED_REASON_ERROR, "Closed has another reason than ERROR", 25)


@case("unspecified-outcome", 50, "The outcome 0 of a record is a failure, not success.", do="send=out checkpoint=1")
async def unspecified_outcome(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, request = await stage.produce()
    count = len(request.values)
    call.answer(
        pb.ProduceResponse(
            outcomes=[pb.PRODUCE_OUTCOME_UNSPECIFIED] * count, partitions=[0] * count, offsets=[0] * count
        )
    )
    await stage.failed(50)
    await stage.closed(stream, 25)
    stage.check(stream.life.accepted < 0, "outcome 0 was taken for success")


@case("unspecified-checkpoint", 50, "The outcome 0 of a checkpoint is not acceptance.", do="checkpoint=1", ends=False)
async def unspecified_checkpoint(stage: Stage) -> None:
    await _not_accepted(stage, 0)


@case(
    "unknown-outcome",
    50,
    "A checkpoint whose outcome is unknown does not count as accepted.",
    do="checkpoint=1",
    ends=False,
)
async def unknown_outcome(stage: Stage) -> None:
    await _not_accepted(stage, 99)


async def _not_accepted(stage: Stage, outcome: int) -> None:
    """A checkpoint is answered with this outcome, below 128: it comes again."""
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, _ = await stage.checkpoint()
    # By its bytes: the library of messages refuses a number that the contract does not have.
    call.answer(pb.CheckpointResponse(results=[pb.CheckpointResult.FromString(bytes([0x08, outcome]))]))
    stage.host.checkpoints.by_rule()
    # It may come again now, or only in Closed. A SIGTERM that comes before the answer would tell nothing.
    await stage.trace.until(lambda: stream.life.accepted == 0, 1.0)
    stage.terminate()
    await stage.exited()
    text = f"a checkpoint that was answered with outcome {outcome} was not sent again"
    stage.check(stream.life.accepted == 0, text)


@case(
    "start-offset-absent", 50, "An Assigned without start_offset is one whose start is not known.", do="checkpoint=1"
)
async def start_offset_absent(stage: Stage) -> None:
    stream = await stage.running(0, None, rule=50)
    await stream.records(7)
    await stage.checkpointed(stream, 7)
