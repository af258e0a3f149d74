"""A sidecar of one exactly-once lease, for tests: it holds records, commits them, and checks who goes with whom."""

import asyncio
from collections.abc import Callable
from typing import Any

from sdk_python._checkpoints import LeaseProgress
from sdk_python._committing import Committing
from sdk_python._connection import TooLargeError
from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._marks import Marks
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.testing._sent import all_alike

ACCEPTED = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)
STALE = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)


def answer(
    request: pb.ProduceRequest,
    outcome: Any,
    error: str = "",
    commit: pb.CheckpointResult | None = None,
    wait: int = 0,
) -> pb.ProduceResponse:
    """One outcome for all records."""
    response = all_alike(len(request.values), outcome, error, commit)
    response.retry_after_ms = wait
    return response


async def turns() -> None:
    """Let everything on the loop that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class Sidecar:
    """Takes Produce and Checkpoint calls, which the test lets go on one step at a time."""

    def __init__(self, limits: Limits | None = None, max_state_bytes: int = 0) -> None:
        self.progress = LeaseProgress("L1", 1000, 0, self, max_state_bytes)
        self.progress.delivered_to(10**6)
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.broken: list[str] = []
        marks = Marks(self._fail)
        self.producing = Committing(
            "L1",
            self._call,
            lambda _: None,
            marks,
            limits or Limits(),
            Counters(),
            self.progress,
            self.broken.append,
        )
        self.requests: list[pb.ProduceRequest] = []
        self.held: list[bytes] = []
        self.visible: list[bytes] = []
        self.commits: list[tuple[int, int]] = []
        """Each transaction: its checkpoint, and how many records are visible after it."""
        self.waiting: asyncio.Future[Any] | None = None
        self.checkpoint_call: pb.CheckpointEntry | None = None
        self.moved = False

    def _fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    # what `LeaseProgress` sees

    def changed(self, progress: LeaseProgress) -> None:
        del progress
        self.moved = True

    def hurry(self) -> None: ...

    def forget(self, progress: LeaseProgress) -> None:
        del progress

    # the calls

    async def _call(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        assert self.waiting is None, "two calls of one lease"
        assert request.lease == "L1"
        self.requests.append(request)
        self.waiting = asyncio.get_running_loop().create_future()
        try:
            made = await self.waiting
        finally:
            self.waiting = None
        if isinstance(made, Exception):
            raise made
        response: pb.ProduceResponse = made(request)
        return response

    def take(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Hold the records, and commit what is held when the request says so."""
        self.held += request.values
        if not request.HasField("commit"):
            return answer(request, pb.PRODUCE_OUTCOME_HELD)
        self.commit(request.commit.offset)
        return answer(request, pb.PRODUCE_OUTCOME_WRITTEN, commit=ACCEPTED)

    def commit(self, checkpoint: int) -> None:
        self.visible += self.held
        self.held.clear()
        self.commits.append((checkpoint, len(self.visible)))

    def answers(self, made: Callable[[pb.ProduceRequest], pb.ProduceResponse] | Exception) -> bool:
        """Answer the Produce call that waits; returns whether there is one."""
        if self.waiting is None or self.waiting.done():
            return False
        self.waiting.set_result(made)
        return True

    def busy(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        return answer(request, pb.PRODUCE_OUTCOME_BUSY, "busy" if request.values else "", wait=1)

    def too_large(self) -> Exception:
        return TooLargeError("too large")

    # Checkpoint calls, as `CheckpointSender` makes them

    def send_checkpoint(self) -> None:
        """Begin a Checkpoint call, if there is something to send and none is under way."""
        if self.checkpoint_call is None:
            self.checkpoint_call = self.progress.take()

    def answer_checkpoint(self, *, well: bool) -> None:
        """The call arrives only now, and is answered."""
        entry, self.checkpoint_call = self.checkpoint_call, None
        if entry is None:
            return
        if not well:
            self.progress.failed()
            return
        if entry.HasField("offset"):
            self.commit(entry.offset)
        self.progress.answered(entry, ACCEPTED)

    async def drain(self) -> None:
        """Answer everything until nothing is under way."""
        while True:
            await turns()
            self.send_checkpoint()
            if self.checkpoint_call is not None:
                self.answer_checkpoint(well=True)
            elif not self.answers(self.take):
                if self.producing._sender is None:
                    return
                await asyncio.sleep(0.002)  # a busy sidecar is asked again
