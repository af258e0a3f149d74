"""What the sidecar says in Welcome that it takes is what it gets."""

import asyncio
from typing import Any

import pytest

from sdk_python import IContext, Message, ProduceError
from sdk_python._checkpoints import CheckpointSender, LeaseProgress
from sdk_python._counters import Counters
from sdk_python._handler_times import HandlerTimes
from sdk_python._limits import Limits
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.waiting import until

from .host import Host, running_client

TOLD = pb.Limits(max_request_bytes=20_000, max_checkpoint_entries=3, max_produce_records=2, max_produce_topics=1)


def test_what_is_not_told_is_as_it_was_before_it_was_told() -> None:
    assert Limits.told(pb.Limits()) == Limits() == Limits(1024 * 1024, 10_000, 10_000, 100)
    assert Limits.told(TOLD) == Limits(20_000, 3, 2, 1)
    assert Limits.told(pb.Limits(max_produce_topics=7)) == Limits(produce_topics=7)
    assert (Limits().produce_bytes, Limits().record_bytes) == (900 * 1024, 1024 * 1024 - 4096)


async def test_what_is_produced_goes_in_calls_that_the_sidecar_takes(host: Host) -> None:
    async def handle(message: Message, context: IContext) -> None:
        outcomes = [context.produce(topic, b"") for topic in ("a", "a", "a", "b")]
        with pytest.raises(ProduceError, match="at most 15904") as caught:
            await context.produce("a", bytes(16_000))
        assert caught.value.kind == "too_large"
        await asyncio.gather(*outcomes)
        context.checkpoint(message.offset)

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign(limits=TOLD)
        stream.batch([b"x"])
        await host.until(lambda: host.checkpoints == [0])
    assert [([*request.topics], len(request.values)) for request in host.produced] == [
        (["a"], 2),
        (["a"], 1),
        (["b"], 1),
    ]


async def test_checkpoints_go_in_calls_that_the_sidecar_takes() -> None:
    requests: list[pb.CheckpointRequest] = []

    async def call(request: pb.CheckpointRequest) -> pb.CheckpointResponse:
        requests.append(request)
        return pb.CheckpointResponse(
            results=[pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)] * len(request.entries)
        )

    async def sent(limits: Limits, act: Any) -> list[pb.CheckpointRequest]:
        requests.clear()
        sender = CheckpointSender(call, HandlerTimes(), spacing=0.0)
        sender.limits = limits
        for number in range(8):
            place = LeaseProgress(f"lease {number}", 100, 0, sender)
            place.delivered_to(1000)
            sender.add(place)
            act(place)
        task = asyncio.create_task(sender.run())
        await until(lambda: sum(len(request.entries) for request in requests) == 8)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return requests

    by_count = await sent(Limits.told(TOLD), lambda place: place.checkpoint(1))
    assert [len(request.entries) for request in by_count] == [3, 3, 2]
    names = ["x" * 256] * 10
    by_size = await sent(Limits(request_bytes=10_000), lambda place: place.skipped(1, names))
    assert len(by_size) > 1
    assert max(request.ByteSize() for request in by_size) <= 10_000


async def test_the_largest_record_fits_into_a_request() -> None:
    requests: list[pb.ProduceRequest] = []

    async def call(request: pb.ProduceRequest) -> pb.ProduceResponse:
        requests.append(request)
        return pb.ProduceResponse(outcomes=[pb.PRODUCE_OUTCOME_WRITTEN], partitions=[0], offsets=[0])

    class Calm:
        def fill(self, is_full: bool) -> None:
            raise AssertionError(f"one record is not much, and the lambda is told {is_full}")

    def on_full(is_full: bool) -> None:
        raise AssertionError(f"one record is not much, and the lambda is told {is_full}")

    outcomes = Outcomes(lambda _: None, lambda _: None)
    producing = Producing("a lease of 24 characters", call, on_full, outcomes, Limits(), Counters())
    headers = [("name", b"")] * 1_000
    size = Limits().record_bytes - 32 - 1_000 * 36 - 50
    await producing.put("t" * 249, bytes(size), bytes(50), headers, 2**31 - 1)
    with pytest.raises(ProduceError, match="at most"):
        await producing.put("t" * 249, bytes(size + 1), bytes(50), headers, 2**31 - 1)
    (request,) = requests
    assert request.ByteSize() <= Limits().request_bytes
