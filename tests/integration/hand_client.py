"""A lambda by hand, frame by frame, for tests that send frames which the SDK never sends."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb, lambda_pb2_grpc
from tests.integration.harness import PATIENCE


class HandClient:
    """One stream, which sends and reads a frame when the test says so."""

    def __init__(self, channel: grpc.Channel, token: str | None = None) -> None:
        self.stub: Any = lambda_pb2_grpc.LambdaHostStub(channel)  # type: ignore[no-untyped-call]
        self._out: SimpleQueue[pb.LambdaFrame | None] = SimpleQueue()
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._stream: Any = self.stub.Serve(iter(self._out.get, None), timeout=2 * PATIENCE, metadata=self._metadata)
        self.lease = ""

    def say(self, **arm: Any) -> None:
        """Send one frame, as in ``say(available=pb.Available())``."""
        self._out.put(pb.LambdaFrame(**arm))

    def hear(self, kind: str) -> Any:
        """Read the next frame, which must be of this kind."""
        frame: pb.HostFrame = next(self._stream)
        while (came := frame.WhichOneof("frame")) is None:  # an empty frame: the sidecar checks whether we read
            frame = next(self._stream)
        assert came == kind, f"{came} came, not {kind}: {frame}"
        return getattr(frame, kind)

    def hear_next(self, kind: str) -> Any:
        """Read up to the next frame of this kind; what comes before it is dropped."""
        frame: pb.HostFrame = next(self._stream)
        while frame.WhichOneof("frame") != kind:
            frame = next(self._stream)
        return getattr(frame, kind)

    def offer(self, name: str, **fields: Any) -> pb.Welcome:
        """Send Offer, read Welcome, send Available."""
        offer = pb.Offer(lambda_name=name, process_id=uuid.uuid4().hex, protocol_version=1, **fields)
        self.say(offer=offer)
        welcome: pb.Welcome = self.hear("welcome")
        self.say(available=pb.Available())
        return welcome

    def take(self) -> pb.Assigned:
        """Wait for Assigned and send Ready."""
        assigned: pb.Assigned = self.hear("assigned")
        self.lease = assigned.lease
        self.say(ready=pb.Ready(lease=self.lease))
        return assigned

    def checkpoint(self, offset: int, lease: str | None = None, state: bytes | None = None) -> pb.CheckpointResult:
        """Call Checkpoint and return its result."""
        entry = pb.CheckpointEntry(lease=self.lease if lease is None else lease, offset=offset, state=state)
        request = pb.CheckpointRequest(entries=[entry])
        answer: pb.CheckpointResponse = self.stub.Checkpoint(request, timeout=PATIENCE, metadata=self._metadata)
        return answer.results[0]

    def produce(
        self, topic: str, *values: bytes, lease: str | None = None, commit: int | None = None
    ) -> pb.ProduceResponse:
        """Produce these values to partition 0, with a checkpoint at ``commit``, and return the response."""
        lease = self.lease if lease is None else lease
        request = pb.ProduceRequest(lease=lease, topics=[topic], values=values, partitions=[0] * len(values))
        if commit is not None:
            request.commit.offset = commit
        answer: pb.ProduceResponse = self.stub.Produce(request, timeout=PATIENCE, metadata=self._metadata)
        return answer

    def close(self, reason: pb.ClosedReason, last: int | None = None, state: bytes | None = None) -> None:
        """Send Closed with the last checkpoint, and end our side of the stream."""
        entry = None if last is None else pb.CheckpointEntry(offset=last, state=state)
        self.say(closed=pb.Closed(reason=reason, last_checkpoint=entry))
        self._out.put(None)

    def ended(self) -> None:
        """Wait until the sidecar has ended the stream too."""
        for _ in self._stream:
            pass

    def end(self) -> None:
        """Cancel the stream."""
        self._out.put(None)
        self._stream.cancel()


@contextmanager
def hand_client(
    address: str, token: str | None = None, credentials: grpc.ChannelCredentials | None = None
) -> Iterator[HandClient]:
    """A stream with its own connection, which ends with the block. ``credentials``: of a sidecar on loopback."""
    target = address.replace("unix://", "unix:")
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    with (
        grpc.insecure_channel(target)
        if credentials is None
        else grpc.secure_channel(target, credentials, options=options)
    ) as channel:
        client = HandClient(channel, token)
        try:
            yield client
        finally:
            client.end()
