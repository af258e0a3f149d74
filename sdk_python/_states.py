"""The few bytes that a lambda gives with its checkpoints (`IContext.checkpoint`).

An entry for the sidecar may have a lower offset than the lambda's latest checkpoint, when that is held back or is
ahead of what was delivered. It gets the state of the last checkpoint at or below its own offset. So each state is
kept with its offset until the sidecar has a later one: at most as many as there are messages in the window.

Owner: the event loop.
"""

from collections import deque

from .protocol import lambda_pb2 as pb


class States:
    """The states of one lease that the sidecar may not have yet."""

    __slots__ = ("_max_bytes", "_waiting")

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes``: of one state; 0: the sidecar keeps none."""
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[int, bytes]] = deque()  # offsets ascend

    def check(self, state: object) -> None:
        """Raise ``TypeError`` or ``ValueError`` when this cannot be a state."""
        if not isinstance(state, bytes):
            raise TypeError(f"checkpoint(state): bytes or None, got {type(state).__name__}")
        if not self._max_bytes:
            raise ValueError(
                "checkpoint(state): this sidecar keeps no state for the lambda; a newer version of the sidecar does"
            )
        if len(state) > self._max_bytes:
            raise ValueError(
                f"checkpoint(state): {len(state)} bytes, and at most {self._max_bytes} go with a checkpoint: keep "
                "the rest elsewhere, such as in a compacted topic"
            )

    def add(self, offset: int, state: bytes) -> None:
        """Keep a state that belongs to a checkpoint which is higher than all before it."""
        self._waiting.append((offset, state))

    def add_to(self, entry: pb.CheckpointEntry) -> None:
        """Add the state that belongs to the entry's offset, unless the sidecar has it."""
        for offset, state in self._waiting:
            if offset > entry.offset:
                break
            entry.state = state

    def accepted(self, offset: int) -> None:
        """Note that the sidecar has a checkpoint at ``offset``, with its state."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= offset:
            waiting.popleft()
