"""When Available follows the Offer at once, and when it waits for the Welcome."""

from types import SimpleNamespace
from typing import Any

import pytest

from sdk_python import IContext, Message, partition_lambda
from sdk_python._client import Client
from sdk_python._connection import Endpoint, LinkError
from sdk_python._loading import as_plugin
from sdk_python.protocol import lambda_pb2 as pb

WELCOME = pb.HostFrame(welcome=pb.Welcome(settings_json="{}", protocol_version=1))


@partition_lambda
def nothing(message: Message, context: IContext) -> None:
    """Handles no message."""


class Stream:
    """A stream that breaks after these frames. Notes what was written before each read."""

    def __init__(self, *frames: pb.HostFrame) -> None:
        self._frames = [*frames]
        self._written: list[str | None] = []
        self.before: list[list[str | None]] = []

    async def write(self, frame: pb.LambdaFrame) -> None:
        self._written.append(frame.WhichOneof("frame"))

    async def read(self) -> pb.HostFrame:
        self.before.append([*self._written])
        if not self._frames:
            raise LinkError("it broke")
        return self._frames.pop(0)

    def close(self) -> None:
        pass


async def test_available_comes_at_once_except_after_a_stream_without_a_welcome() -> None:
    client: Any = Client("words", as_plugin(nothing, "plugin"), Endpoint("127.0.0.1:1", None, None))
    streams = [Stream(WELCOME), Stream(WELCOME), Stream(), Stream(WELCOME), Stream(WELCOME)]
    opened = iter(streams)
    client._connection = SimpleNamespace(open=lambda: next(opened))
    for _ in streams:
        with pytest.raises(LinkError):
            await client._offer_once()
    whole = [["offer"], ["offer", "available"]]
    at_once = [["offer", "available"], ["offer", "available"]]
    assert streams[0].before == whole, "nothing is loaded yet"
    assert streams[1].before == at_once
    assert streams[2].before == at_once[:1], "and it breaks: was it refused?"
    assert streams[3].before == whole, "nothing is written that could take the place of the status"
    assert streams[4].before == at_once
