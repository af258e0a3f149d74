"""What happens between the kit and a client, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from google.protobuf.message import Message


class Kind(Enum):
    """What happened."""

    STARTED = auto()
    """The process under test was started."""
    SIGNALLED = auto()
    """It was sent a signal."""
    EXITED = auto()
    CONNECTED = auto()
    CUT = auto()
    """A connection is over, and all streams and calls on it with it."""
    CALMED = auto()
    """gRPC ended a connection for pinging too often (ENHANCE_YOUR_CALM)."""
    OPENED = auto()
    """The client opened a stream."""
    FRAME = auto()
    """A frame of the client."""
    HALF_CLOSED = auto()
    """The client ended its side of a stream in order."""
    BROKE = auto()
    """The client cancelled a stream, or its connection is over."""
    SENT = auto()
    """A frame of the sidecar."""
    ENDED = auto()
    """The sidecar ended a stream; the note has the status."""
    CALL = auto()
    """The client called Checkpoint, Error or Produce."""
    ANSWERED = auto()
    """The sidecar answered a call: with a message, or with a status in the note."""
    GONE = auto()
    """The client gave a call up, or its connection is over."""
    INVALID = auto()
    """The client sent what the sidecar refuses; the note says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    at: float
    """Seconds since the case began."""
    kind: Kind
    connection: int = 0
    """The number of the connection, from 1; 0: it concerns none, or all."""
    stream: int = 0
    """The number of the stream, from 1; 0: it concerns none."""
    call: int = 0
    """The number of the call, from 1; 0: it concerns none."""
    message: Message | None = None
    """The frame (LambdaFrame, HostFrame), request or response."""
    note: str = ""
    rule: int = 0
    """With INVALID: the number of the rule that is broken."""
