"""What a lambda with the guarantee exactly-once produces: on its way to the sidecar together with its checkpoints.

A record becomes visible with the first checkpoint that the lambda makes after it, or with a later one of the same
call. The queue of records and the marks between them (`_marks.py`) tell what one call may carry::

    produced    r1  r2  c5  r3  c6  r4                  (c: a checkpoint)
    calls       Produce(r1 r2 r3, commit 6)   Produce(r4)   ...

r4 must not go with the first call: the sidecar commits all that it holds when a commit comes. Since one call of a
lease is under way at a time, r4 cannot overtake it.

Until the lambda produces something, its checkpoints go in Checkpoint calls with those of other leases. From its first
record on they go here. At the change, both could be under way:

1. A Checkpoint call with offset 5 is sent.
2. The lambda handles message 6 and produces r1, which overtakes that call and is held.
3. The Checkpoint call arrives, and commits r1 with offset 5.
4. After a crash message 6 is handled again, and r1 is there twice.

So nothing is sent here until that call is answered (`LeaseProgress.handed_over`).

A transaction takes some 100 ms, and records wait here meanwhile. Code that awaits one of them goes on at once: the
record is held, here instead of in the sidecar. Otherwise a handler that awaits its record, checkpoints and takes the
next message would handle one message for each transaction.

Owner: the event loop.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ._batch import STALE, Batch
from ._checkpoints import LeaseProgress
from ._connection import LinkError, TooLargeError
from ._counters import Counters
from ._errors import RefusedError
from ._limits import Limits
from ._marks import Mark, Marks
from ._produce import Call, Producing
from .protocol import lambda_pb2 as pb

_OVER: Final = "the lease is over"


class Committing(Producing):
    """The records and the checkpoints of one lease on their way to the sidecar."""

    def __init__(
        self,
        lease: str,
        call: Call,
        on_full: Callable[[bool], None],
        marks: Marks,
        limits: Limits,
        counters: Counters,
        progress: LeaseProgress,
        on_broken: Callable[[str], None],
    ) -> None:
        """``on_broken``: ends the lambda, since nobody knows what became of a call; told why."""
        super().__init__(lease, call, on_full, marks, limits, counters, self._hand_over, keeps_sources=True)
        self._marks = marks
        self._progress = progress
        self._on_broken = on_broken
        self._in_transaction = False

    def _hand_over(self) -> None:
        """From the first record on the checkpoints go here."""
        if self._progress.outcomes is None:
            self._progress.outcomes = self._marks
            self._marks.on_mark = self._wake
            self._progress.hand_over(self._wake)

    def _wake(self) -> None:
        """There may be something to commit."""
        if not self._over:
            self._begin()

    async def _send_queue(self) -> None:
        await self._progress.handed_over()
        await self._commit_owed()
        while not self._over:
            if self._queue:
                batch = self._take_batch()
                await self._send_between_marks(batch)
                self._gone(batch)
            elif (mark := await self._marks.take(self._marks.put)) is not None:
                await self._commit(None, (), mark)
            elif not await self._commit_owed():
                return

    async def _commit_owed(self) -> bool:
        """Commit a checkpoint from before the first record, or one that was ahead of what had been delivered."""
        owed = self._progress.owed
        if owed is None:
            return False
        await self._commit(None, (), Mark(owed, 0))
        return True

    async def _send_between_marks(self, batch: Batch) -> None:
        sent, count = 0, len(batch)
        while (mark := await self._marks.take(batch.before + count)) is not None:
            until = max(sent, mark.records - batch.before)
            is_put_back = not await self._commit(batch, range(sent, until), mark)
            sent = until
            if is_put_back:
                if sent == count:
                    return
                batch.tell_failures()  # they may stop the mark, and the mark stops the rest of the batch
        if sent < count:
            await self._send(batch, range(sent, count))

    async def _send(self, batch: Batch, places: Sequence[int]) -> None:
        if self._over:
            batch.fail_all(places, self._over, "stale_lease")
        else:
            await super()._send(batch, places)

    async def _commit(self, batch: Batch | None, places: Sequence[int], mark: Mark) -> bool:
        """Send these records of the batch with the mark. Returns False when the mark is put back."""
        entry = self._progress.take_commit(mark.offset)
        if entry is None:  # the lease has ended, or nothing so far was delivered
            if batch is not None and places:
                await self._send(batch, places)
            return True
        has_records = batch is not None and len(places) > 0
        request = batch.request(self._lease, places) if batch is not None and has_records else None
        request = request or pb.ProduceRequest(lease=self._lease)
        request.commit.CopyFrom(entry)
        if batch is not None and not has_records and not batch.failures:
            batch.settle_held()
        try:
            response = await self._transaction(request)
        except TooLargeError as refusal:
            if batch is None or not has_records:
                self._broke(batch, places, str(refusal))
                return True
            self._progress.commit_refused()
            self._marks.put_back(mark)
            await self._send(batch, places)
            return False
        except (LinkError, RefusedError) as broken:
            self._broke(batch, places, str(broken))
            return True
        return await self._take_answer(batch, places, mark, entry, response)

    async def _transaction(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        """Send a request with a checkpoint. Records that wait here meanwhile count as held."""
        self._in_transaction = True
        for waiting in self._queue:
            waiting.settle_held()
        try:
            return await self._answer(request)
        finally:
            self._in_transaction = False

    def _batch_for(self, topic: str, size: int, count: int = 1) -> Batch:
        batch = super()._batch_for(topic, size, count)
        if self._in_transaction:
            batch.settle_held()
        return batch

    async def _take_answer(
        self,
        batch: Batch | None,
        places: Sequence[int],
        mark: Mark,
        entry: pb.CheckpointEntry,
        response: pb.ProduceResponse,
    ) -> bool:
        decided = response.HasField("commit")
        if decided:
            self._progress.answered(entry, response.commit)
            if response.commit.outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE:
                self._lease_is_over()
        elif batch is None or not places:
            self._broke(batch, places, "the sidecar's answer says nothing of the checkpoint")
            return True
        else:
            self._progress.commit_refused()
            self._marks.put_back(mark)
        if batch is not None and places:
            await self._take_outcomes(batch, places, response)
        return decided

    async def _take_outcomes(self, batch: Batch, places: Sequence[int], response: pb.ProduceResponse) -> None:
        if {*response.outcomes} == {STALE}:
            self._lease_is_over()
        await super()._take_outcomes(batch, places, response)

    def _lease_is_over(self) -> None:
        """Nothing more is sent: the sidecar tells on the stream why the lease ended."""
        self._progress.seal()
        self._marks.end()
        if self._over:
            return
        self._over = _OVER
        self._close()
        while self._queue:
            self._finish_failed(self._queue.popleft(), _OVER)

    def _broke(self, batch: Batch | None, places: Sequence[int], why: str) -> None:
        """A call ended without an answer: what was produced may be held or written, or not."""
        self._lease_is_over()
        if batch is not None:
            batch.fail_all(places, why)
        self._on_broken(f"what was produced may be written or not, so the lambda begins again: {why}")
