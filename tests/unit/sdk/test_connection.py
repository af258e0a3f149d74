"""The connection to the sidecar: streams are spread over channels, and a status becomes an error."""

from typing import Any

import grpc
import pytest

from sdk_python import RefusedError
from sdk_python._connection import Connection, Endpoint, LinkError, TooLargeError
from sdk_python.protocol import lambda_pb2 as pb

from .host import Host


async def test_a_hundred_streams_are_spread_over_connections(host: Host) -> None:
    connection = Connection(Endpoint(host.address))
    streams = [connection.open() for _ in range(100)]
    for stream in streams:
        await stream.write(pb.LambdaFrame(offer=pb.Offer(lambda_name="x")))
    for _ in streams:
        await host.offered()
    assert len(host.peers) == 2
    streams[0].close()
    streams[0].close()  # gives its place back once
    again = connection.open()
    assert sorted(connection._streaming.values()) == [36, 64]
    for stream in (*streams, again):
        stream.close()
    await connection.close()


class Refusing(Host):
    """Answers Produce with a status that is not OK."""

    code = grpc.StatusCode.OK

    async def Produce(self, _: pb.ProduceRequest, context: Any) -> pb.ProduceResponse:  # noqa: N802
        await context.abort(self.code, "not now")
        raise AssertionError


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (grpc.StatusCode.UNAVAILABLE, LinkError, "UNAVAILABLE: not now"),
        (grpc.StatusCode.NOT_FOUND, RefusedError, r"\(NOT_FOUND\): not now"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TooLargeError, "larger than a call may be: not now"),
    ],
)
async def test_the_status_of_a_failed_call_says_whether_asking_again_may_help(
    code: grpc.StatusCode, error: type[Exception], text: str
) -> None:
    host = Refusing()
    host.code = code
    await host.start()
    connection = Connection(Endpoint(host.address))
    try:
        with pytest.raises(error, match=text) as caught:
            await connection.produce(pb.ProduceRequest())
        assert type(caught.value) is error
    finally:
        await connection.close()
        await host.stop()
