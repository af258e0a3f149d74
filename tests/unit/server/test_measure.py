"""What the loop counts of each lambda: frames, bytes, and how long handlers took."""

import grpc
import grpc.aio
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.measured import LoopMeasured
from sidecar.partitions.vocabulary import CheckpointOutcome, TopicPartition

from .server_lab import Lab
from .test_calls import call


def counted(lab: Lab, name: str) -> LoopMeasured:
    return lab.hosted[name].measure.now


def times(lease: str, classes: int = 13, sum_us: int = 1_500_000) -> pb.CheckpointRequest:
    counts = [*range(classes)]
    return pb.CheckpointRequest(handler_times=pb.HandlerTimes(lease=lease, counts=counts, sum_us=sum_us))


async def test_frames_of_the_stream_count_both_ways_for_their_lambda_alone(lab: Lab) -> None:
    stream = await lab.running()
    before = counted(lab, "deli")
    assert (before.frames_sent, before.frames_received) == (2, 2), "Welcome and Assigned, Available and Ready"
    data = pb.HostFrame(batch=pb.Batch(values=[b"x" * 1000])).SerializeToString()
    lab.host.deliver([letters.Send(stream.id, data)])
    await stream.read()
    await lab.deli.expect(letters.Written)
    pause = pb.LambdaFrame(pause=pb.Pause(number=1, reason="r" * 100))
    await stream.send(pause)
    await lab.deli.expect(letters.PauseLease)
    after = counted(lab, "deli")
    assert (after.frames_sent, after.bytes_sent - before.bytes_sent) == (3, len(data))
    assert (after.frames_received, after.bytes_received - before.bytes_received) == (3, pause.ByteSize())
    assert counted(lab, "scribe") == LoopMeasured()


async def test_calls_count_for_the_lambda_of_their_lease(lab: Lab) -> None:
    await lab.running("deli", "d1")
    await lab.running("scribe", "s1")
    before = counted(lab, "scribe")
    request = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="s1", offset=7)])
    response = call(lab.calls.Checkpoint, request)
    scribe = lab.desks["scribe"]
    scribe.answer(await scribe.expect(letters.Checkpoints), [(CheckpointOutcome.ACCEPTED, None)])
    await response
    produced = pb.ProduceRequest(lease="s1", topics=["t"], values=[b"v"])
    await lab.calls.Produce(produced)
    after = counted(lab, "scribe")
    assert after.frames_received == before.frames_received + 2
    assert after.bytes_received == before.bytes_received + request.ByteSize() + produced.ByteSize()
    await lab.calls.Checkpoint(pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="nobody's")]))
    assert counted(lab, "scribe") == after


async def test_times_of_handlers_add_up_for_their_lambda(lab: Lab) -> None:
    await lab.running("deli", "d1")
    await lab.given(await lab.spare("deli", process_id="p2"), "deli", "d2", TopicPartition("raw", 1), 0, 1)
    for lease in ("d1", "d2", "dead"):
        response = await lab.calls.Checkpoint(times(lease))
        assert not response.results
    measured = counted(lab, "deli").handlers
    assert measured.counts == tuple(2 * number for number in range(13))
    assert measured.total == 3.0
    assert sum(counted(lab, "scribe").handlers.counts) == 0


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (times("d1", 12), "handler_times.counts: 12, there are 13 classes"),
        (times("d1", 14), "handler_times.counts: 14, there are 13 classes"),
        (times(""), "handler_times.lease: missing"),
    ],
)
async def test_times_that_cannot_be_are_refused(lab: Lab, request_: pb.CheckpointRequest, text: str) -> None:
    await lab.running("deli", "d1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await lab.calls.Checkpoint(request_)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)
    assert sum(counted(lab, "deli").handlers.counts) == 0
