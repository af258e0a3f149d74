"""What a life needs of its process: its stream, and what it shares with the other lives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ._checkpoints import Sink
from ._connection import Calls
from ._counters import Counters
from ._decoding import Frame
from ._handler_times import HandlerTimes
from ._interfaces import IPartitionLambdaFactory
from ._limits import Terms
from ._loop_budget import LoopBudget
from .protocol import lambda_pb2 as pb


class Link(Protocol):
    """The partition's stream. A small interface, so that a test needs no gRPC (`sdk_python.testing`)."""

    async def read(self) -> Frame | None:
        """Read the next frame; None: the stream ended in order. Raises LinkError, RefusedError or FrameError."""
        ...

    async def write(self, frame: pb.LambdaFrame) -> None:
        """Send a frame. Raises LinkError or RefusedError."""
        ...

    async def half_close(self) -> None:
        """Say that nothing more will be sent."""
        ...

    def close(self) -> None:
        """End the stream now."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """What a life needs of its process beside the stream."""

    lambda_name: str
    factory: IPartitionLambdaFactory
    config: Mapping[str, Any]
    sink: Sink
    calls: Calls
    budget: LoopBudget
    times: HandlerTimes
    counters: Counters
    terms: Terms
    drain_timeout: float
    """In seconds."""
    leave: Callable[[BaseException], None]
    """Called when the lambda's code asks for the end of the process (``sys.exit``): drain, and then end with this."""
    socket_path: str = ""
    """Of the Unix socket where the sidecar is; empty: it is elsewhere, and shares no memory."""
