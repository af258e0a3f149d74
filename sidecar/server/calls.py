"""The unary calls of lambda processes: each finds its lambda by the lease. On the event loop.

For gRPC they are streams of one message (`arrivals.py`), which so is not kept while its answer is late.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TypeAlias, cast

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import GoneError
from sidecar.partitions.vocabulary import CheckpointOutcome, ErrorAction, ErrorOutcome, Lease, Progress
from sidecar.producing.lambda_producer import FullError
from sidecar.server import frames, producing
from sidecar.server.arrivals import Arrivals
from sidecar.server.frames import InvalidFrameError
from sidecar.server.refusals import Context, Refusals, Refused, abort, host_of, is_one_connection
from sidecar.server.runtime import LambdaRuntime
from sidecar.server.stream import Stream

CHUNK = 500
"""Entries of a Checkpoint that are taken at once: half a millisecond. A request with more waits in between, and for
other such requests, so that many and large ones do not keep the loop."""

MOST_LARGE = 16
"""Requests with more entries than that which may wait for one another: each keeps about a megabyte."""

USELESS_ENTRIES = 100
"""So many entries with a dead lease, or with the lease of another entry, cost as much as a call."""

USELESS_TEXT = 4096
"""So many characters of a report, which all go to the log, cost as much as a call."""

_FULL = "too much that this lambda produces is on its way to Kafka; nothing was written, ask again soon"
_ONE_AT_A_TIME = "the call Produce before this one, of the same lease, is under way: one at a time keeps their order"

MOST_CALLERS = 4_096
"""Connections of which is known for whom they called; beyond it the one that came first is forgotten."""

Served: TypeAlias = Callable[[object, Context], Awaitable[bytes]]


class Calls:
    """All calls that carry a lease."""

    def __init__(
        self,
        lambdas: Mapping[str, LambdaRuntime],
        leases: Mapping[Lease, Stream],
        refusals: Refusals,
        arrivals: Arrivals,
    ) -> None:
        """``leases`` are those that have a stream."""
        self._lambdas = lambdas
        self._leases = leases
        self._refusals = refusals
        self._arrivals = arrivals
        self._callers: dict[str, Mapping[str, object]] = {}
        self._large = asyncio.Semaphore(1)
        self._large_there = 0

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Method by method, for the service."""
        methods = {"Checkpoint": self._checkpoint, "Error": self._error, "Produce": self._produce}
        return {name: grpc.stream_unary_rpc_method_handler(self._checked(call)) for name, call in methods.items()}

    def _checked(self, call: Callable[[bytes, str], Awaitable[tuple[bytes, float]]]) -> Served:
        """Reads the message, answers late what was of no use, and turns refusals into their statuses."""

        async def checked(_: object, context: Context) -> bytes:
            peer = context.peer()
            try:
                # In one expression: nobody but the call itself keeps the message, and not while an answer is late.
                reply, useless = await call(await self._arrivals.message(context), peer)
            except Refused as refused:
                status, text = refused.status, str(refused)
            except InvalidFrameError as error:
                status, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
            except GoneError as error:
                await abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
            else:
                if useless:
                    await self._refusals.late(peer, useless)
                return reply
            return await self._refusals.refuse(context, status, text, self._about(peer), peer=peer)

        return checked

    def _stream(self, lease: Lease, peer: str) -> Stream | None:
        """The stream with this lease, which was called for from there."""
        stream = self._leases.get(lease)
        if stream is not None and is_one_connection(peer):
            self._callers.pop(peer, None)
            self._callers[peer] = stream.about  # put last: the first is the one that came longest ago
            if len(self._callers) > MOST_CALLERS:
                del self._callers[next(iter(self._callers))]
        return stream

    def _about(self, peer: str) -> Mapping[str, object]:
        """Whose call was refused, for the log. A message that gRPC refuses names no lease.

        Then it is who called before on this connection, and else whoever has a partition on the same host.
        """
        if caller := self._callers.get(peer):
            return caller
        host = host_of(peer)
        streams = {stream.process_id: stream for stream in self._leases.values() if host_of(stream.peer) == host}
        if len(streams) == 1:
            return next(iter(streams.values())).about
        return {"lambdas": sorted({stream.lambda_name for stream in streams.values()})} if streams else {}

    async def _checkpoint(self, data: bytes, peer: str) -> tuple[bytes, float]:
        """Returns the response, and how much of the request was of no use."""
        request = frames.parse(pb.CheckpointRequest, data)
        count = len(request.entries)
        if count > frames.MOST_ENTRIES:
            raise InvalidFrameError(f"entries: {count}, at most {frames.MOST_ENTRIES} fit into one request")
        if count:
            self._stream(request.entries[0].lease, peer)
        if count <= CHUNK:
            return await self._checkpoint_all(request)
        if self._large_there >= MOST_LARGE:
            text = f"entries: {MOST_LARGE} calls with more than {CHUNK} of them wait already; keep one call under way"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._large_there += 1
        try:
            async with self._large:
                return await self._checkpoint_all(request)
        finally:
            self._large_there -= 1

    async def _checkpoint_all(self, request: pb.CheckpointRequest) -> tuple[bytes, float]:
        count = len(request.entries)
        results = [_result(CheckpointOutcome.STALE_LEASE, None)] * count
        living: dict[str, tuple[list[int], list[tuple[Lease, Progress]]]] = {}
        useful: set[Lease] = set()
        entries = iter(request.entries)
        for first in range(0, count, CHUNK):
            if first:
                await asyncio.sleep(0)
            for index, lease, progress in frames.checkpoints(islice(entries, CHUNK), first, self._leases):
                indexes, known = living.setdefault(self._leases[lease].lambda_name, ([], []))
                indexes.append(index)
                known.append((lease, progress))
                useful.add(lease)
        replies: dict[str, letters.Reply[list[tuple[CheckpointOutcome, int | None]]]] = {}
        for name, (_, known) in living.items():
            replies[name] = letters.Reply()
            self._lambdas[name].mailbox.put(letters.Checkpoints(known, replies[name]))
        for name, (indexes, _) in living.items():
            for index, result in zip(indexes, await replies[name].future, strict=True):
                results[index] = _result(*result)
        useless = count - len(useful)
        return b"".join(results), 1 + useless / USELESS_ENTRIES if useless > len(useful) else 0.0

    async def _error(self, data: bytes, peer: str) -> tuple[bytes, float]:
        request = frames.parse(pb.ErrorRequest, data)
        stream = self._stream(request.lease, peer)
        version = "" if stream is None else stream.offer.lambda_version
        failure, last = frames.failure(request, version)
        if stream is None:
            return pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_STALE_LEASE).SerializeToString(), 1.0
        lease = request.lease
        del data, request  # they may be larger than what is kept of them
        if failure.action is not ErrorAction.REPORT:
            stream.fenced = True
        else:
            # Before it is told, not after: each one is a line in the log, and a caller may go away and come again.
            await self._refusals.late(stream.process_id, 1 + len(failure.message + failure.stack) / USELESS_TEXT)
        reply: letters.Reply[tuple[ErrorOutcome, float]] = letters.Reply()
        self._lambdas[stream.lambda_name].mailbox.put(letters.Failed(lease, failure, last, reply))
        outcome, seconds = await reply.future
        response = pb.ErrorResponse(outcome=cast("pb.ErrorOutcome", outcome), retry_after_ms=round(seconds * 1000))
        return response.SerializeToString(), 0.0

    async def _produce(self, data: bytes, peer: str) -> tuple[bytes, float]:
        request = frames.parse(pb.ProduceRequest, data)
        stream = self._stream(request.lease, peer)
        records = producing.outgoing(request)
        count = len(records)
        if stream is None or not stream.alive:
            stale = "the lease is dead: the partition is not this lambda's any more"
            return producing.nothing_written(count, pb.PRODUCE_OUTCOME_STALE_LEASE, stale), 1.0
        hosted = self._lambdas[stream.lambda_name]
        if refused := producing.refused_topic(request, hosted.config):
            return producing.nothing_written(count, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, refused), 1.0
        busy = pb.PRODUCE_OUTCOME_BUSY
        if stream.producing:  # only a client that does not wait asks so often: it is answered later
            return producing.nothing_written(count, busy, _ONE_AT_A_TIME, producing.BUSY_LEASE_MS), 1.0
        size = len(data)
        del data, request
        stream.producing = True
        try:
            return producing.response(await hosted.lambda_producer.write(records, size)), 0.0
        except FullError:  # no fault of the client
            return producing.nothing_written(count, busy, _FULL, producing.BUSY_FULL_MS), 0.0
        finally:
            stream.producing = False


@lru_cache(maxsize=4_096)
def _result(outcome: CheckpointOutcome, delivered: int | None) -> bytes:
    """A response of one result: end to end they are the response with all of them."""
    result = pb.CheckpointResult(outcome=cast("pb.CheckpointOutcome", outcome), delivered=delivered)
    return pb.CheckpointResponse(results=[result]).SerializeToString()
