"""The Serve stream: a client's frames become letters, a consumer thread's letters become frames."""

import asyncio
import json

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config import LambdaConfig
from sidecar.mail import letters
from sidecar.partitions.vocabulary import (
    Assign,
    ClosedReason,
    EndReason,
    EndStream,
    Lane,
    Progress,
    Revoke,
    RevokeReason,
    TopicPartition,
)
from sidecar.server import arrivals, frames, lambda_host
from sidecar.version import VERSION

from .bench import PATIENCE, offer
from .server_lab import Lab

OK = (grpc.StatusCode.OK, "")


def batch(first: int, values: list[bytes]) -> bytes:
    return pb.HostFrame(batch=pb.Batch(first_offset=first, values=values)).SerializeToString()


async def test_from_the_offer_to_the_records(lab: Lab) -> None:
    stream = lab.stream()
    await stream.say(offer=offer())
    welcome = await stream.expect("welcome")
    assert json.loads(welcome.settings_json) == {"depth": 3, "name": "größer"}
    assert (welcome.window_messages, welcome.window_bytes, welcome.max_frame_bytes) == (77, 4096, 2048)
    assert (welcome.protocol_version, welcome.sidecar_version) == (1, VERSION)
    assert lab.deli.empty(), "a process counts only when its resources are loaded"

    await stream.say(available=pb.Available())
    available = await lab.deli.expect(letters.Available)
    assert (available.process_id, available.max_message_bytes) == ("p1", frames.DEFAULT_MESSAGE_BYTES)

    lab.host.deliver([Assign(available.stream, "lease-1", Lane(TopicPartition("raw", 7)), 40, 2)])
    assigned = await stream.expect("assigned")
    assert assigned == pb.Assigned(lease="lease-1", topic="raw", partition=7, start_offset=40, attempt=2)

    await stream.say(ready=pb.Ready(lease="lease-1"))
    assert await lab.deli.expect(letters.Ready) == letters.Ready(available.stream, "lease-1")

    data = batch(40, [b"one", b"two"])
    lab.host.deliver([letters.Send(available.stream, data)])
    assert await stream.read() == data
    assert await lab.deli.expect(letters.Written) == letters.Written(available.stream)
    assert lab.deli.empty(), "only the writing of records is told"


async def test_the_generated_stub_speaks_it_too(lab: Lab) -> None:
    call = lab.calls.Serve()
    await call.write(pb.LambdaFrame(offer=offer(lambda_name="scribe")))
    async with asyncio.timeout(PATIENCE):
        frame = await call.read()
    assert frame.welcome.settings_json == "{}", "never absent"
    call.cancel()


async def test_the_size_that_the_client_can_receive(lab: Lab) -> None:
    stream = lab.stream()
    await stream.say(offer=offer(max_message_bytes=5000))
    await stream.say(available=pb.Available())
    assert (await lab.deli.expect(letters.Available)).max_message_bytes == 5000


async def test_frames_are_written_in_order_and_each_batch_is_reported(lab: Lab) -> None:
    stream = await lab.running()
    sent = [batch(5 + number, [b"%d" % number]) for number in range(20)]
    lab.host.deliver([letters.Send(stream.id, data) for data in sent])
    assert [await stream.read() for _ in sent] == sent
    for _ in sent:
        await lab.deli.expect(letters.Written)
    assert not lab.deli.silent


async def test_the_thread_is_woken_by_a_written_frame_only_if_it_waits_for_it(lab: Lab) -> None:
    stream = await lab.running()
    lab.host.deliver([letters.Send(stream.id, batch(5, [b"one"]), rings=False)])
    await stream.read()
    written = await lab.deli.expect(letters.Written)
    assert lab.deli.silent == [written]


@pytest.mark.parametrize(("seconds", "deadline_ms"), [(2.5, 2500), (-0.1, 0)])
async def test_revoked_carries_the_remaining_time(lab: Lab, seconds: float, deadline_ms: int) -> None:
    stream = await lab.running()
    lab.host.deliver([Revoke(stream.id, RevokeReason.HAND_OVER, seconds)])
    revoked = await stream.expect("revoked")
    assert revoked == pb.Revoked(reason=pb.REVOKE_REASON_HAND_OVER, deadline_ms=deadline_ms)


async def test_closed_carries_the_last_checkpoint(lab: Lab) -> None:
    stream = await lab.running()
    last = pb.CheckpointEntry(offset=9, completed_beyond=2, completed_beyond_bytes=30, handled=12)
    await stream.say(closed=pb.Closed(reason=pb.CLOSED_REASON_REVOKED, last_checkpoint=last))
    closed = await lab.deli.expect(letters.Closed)
    assert closed == letters.Closed(stream.id, ClosedReason.REVOKED, Progress(9, 2, 30, 12))
    assert await stream.ended() == OK
    assert await lab.deli.expect(letters.StreamLost) == letters.StreamLost(stream.id)


async def test_closed_without_a_checkpoint_and_with_an_unknown_reason(lab: Lab) -> None:
    stream = await lab.running()
    data = pb.LambdaFrame(closed=pb.Closed()).SerializeToString()
    assert data == b"\x22\x00"
    await stream.send(b"\x22\x02\x08\x63")  # reason: 99
    assert await lab.deli.expect(letters.Closed) == letters.Closed(stream.id, ClosedReason.UNSPECIFIED, None)
    assert await stream.ended() == OK


async def test_declined_instead_of_ready(lab: Lab) -> None:
    stream = await lab.spare()
    lab.host.deliver([Assign(stream.id, "lease-1", Lane(TopicPartition("raw", 0)), 0, 1)])
    await stream.expect("assigned")
    await stream.say(closed=pb.Closed(reason=pb.CLOSED_REASON_DECLINED))
    assert (await lab.deli.expect(letters.Closed)).reason is ClosedReason.DECLINED
    assert await stream.ended() == OK


async def test_a_client_that_breaks_off(lab: Lab) -> None:
    stream = await lab.running()
    stream.cancel()
    assert await lab.deli.expect(letters.StreamLost) == letters.StreamLost(stream.id)
    lab.host.deliver([letters.Send(stream.id, b""), Revoke(stream.id, RevokeReason.LOST, 0.0)])
    assert lab.deli.empty(), "what is sent to a stream that is gone changes nothing"


async def test_a_client_that_ends_its_side_without_closed(lab: Lab) -> None:
    stream = await lab.running()
    await stream.half_close()
    assert await stream.ended() == OK
    assert await lab.deli.expect(letters.StreamLost) == letters.StreamLost(stream.id)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (EndReason.TOO_LATE, grpc.StatusCode.DEADLINE_EXCEEDED),
        (EndReason.PROTOCOL, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_the_sidecar_ends_a_stream(lab: Lab, reason: EndReason, status: grpc.StatusCode) -> None:
    stream = await lab.running()
    lab.host.deliver([EndStream(stream.id, reason, "ready: did not come"), EndStream(stream.id, reason, "again")])
    assert await stream.ended() == (status, "ready: did not come")
    assert await lab.deli.expect(letters.StreamLost) == letters.StreamLost(stream.id)


async def test_refusing_offers_ends_spare_streams_only(lab: Lab) -> None:
    spare, running = await lab.spare(process_id="p1"), await lab.running(process_id="p2")
    lab.host.refuse("the sidecar shuts down")
    refusal = (grpc.StatusCode.UNAVAILABLE, "the sidecar shuts down")
    assert await spare.ended() == refusal
    assert await lab.deli.expect(letters.StreamLost) == letters.StreamLost(spare.id)
    late = lab.stream()
    await late.say(offer=offer())
    assert await late.ended() == refusal
    lab.host.deliver([Revoke(running.id, RevokeReason.SHUTDOWN, 1.0)])
    await running.expect("revoked")
    await running.say(closed=pb.Closed(reason=pb.CLOSED_REASON_REVOKED))
    assert await running.ended() == OK


async def test_refusing_while_a_welcome_is_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    welcome = lambda_host._welcome

    def refuse_first(config: LambdaConfig, offered: frames.Offered, enforced: pb.Limits) -> bytes:
        lab.host.refuse("the sidecar shuts down")
        return welcome(config, offered, enforced)

    monkeypatch.setattr(lambda_host, "_welcome", refuse_first)
    stream = lab.stream()
    await stream.say(offer=offer())
    await stream.expect("welcome")
    assert await stream.ended() == (grpc.StatusCode.UNAVAILABLE, "the sidecar shuts down")


async def test_a_stream_that_offers_nothing_in_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "OFFER_TIMEOUT_S", 0.01)
    assert await lab.stream().ended() == (grpc.StatusCode.DEADLINE_EXCEEDED, "offer: did not come within 0.01 s")


@pytest.mark.parametrize(
    ("field", "most", "wrong"),
    [
        ("lambda_name", 256, offer(lambda_name="ü" * 129)),
        ("process_id", 128, offer(process_id="ü" * 65)),
        ("instance", 256, offer(instance="x" * 257)),
        ("client.name", 256, offer(client=pb.Client(name="x" * 257))),
        ("client.version", 256, offer(client=pb.Client(version="x" * 257))),
        ("client.language", 256, offer(client=pb.Client(language="x" * 257))),
    ],
)
async def test_an_offer_with_a_too_long_field(lab: Lab, field: str, most: int, wrong: pb.Offer) -> None:
    stream = lab.stream()
    await stream.say(offer=wrong)
    refusal = (grpc.StatusCode.INVALID_ARGUMENT, f"offer.{field}: longer than {most} bytes")
    assert await stream.ended() == refusal
    assert lab.host.processes == {}
    await lab.spare(process_id="ü" * 64, instance="x" * 256, max_message_bytes=1024)


async def test_each_lambda_has_its_own_mailbox(lab: Lab) -> None:
    deli, scribe = await lab.spare("deli"), await lab.spare("scribe")
    assert deli.id != scribe.id
    assert lab.deli.empty()
    assert lab.desks["scribe"].empty()


async def test_a_processs_information_is_kept_while_it_has_a_stream(lab: Lab) -> None:
    client = pb.Client(name="sdk", version="1.2", language="python 3")
    first = await lab.spare(instance="pod-1", pid=17, client=client, lambda_version="7.1")
    second = await lab.running()
    assert lab.host.processes == {"p1": lambda_host.ProcessInfo("pod-1", 17, "sdk 1.2 python 3", "7.1", streams=2)}
    for stream in (first, second):
        stream.cancel()
        await lab.deli.expect(letters.StreamLost)
    assert lab.host.processes == {}


async def test_the_health_needs_all_lambdas_to_be_ready(lab: Lab) -> None:
    for name, is_ready in (("deli", True), ("scribe", True), ("deli", False), ("deli", True)):
        lab.host.deliver([letters.Readiness(name, is_ready)])
    assert lab.health == [False, True, False, True]
