"""The unary calls of lambda processes; their lease names the lambda. Runs on the event loop.

To gRPC they are streams of one message (`arrivals.py`), so gRPC does not keep the message while its answer is late.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from itertools import islice
from time import monotonic
from typing import TypeAlias, cast

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.mail.boxes import GoneError
from sidecar.partitions.vocabulary import CheckpointOutcome, ErrorAction, ErrorOutcome, Lease, Progress
from sidecar.producing.outcomes import FullError
from sidecar.server import frames, producing, transacting
from sidecar.server.arrivals import Arrivals
from sidecar.server.frames import InvalidFrameError
from sidecar.server.identities import caller
from sidecar.server.producing import AskedToHold
from sidecar.server.refusals import Context, Refusals, Refused, abort, host_of, is_one_connection
from sidecar.server.runtime import LambdaRuntime
from sidecar.server.stream import Stream

ENTRIES_AT_ONCE = 500
"""Entries of a Checkpoint that are processed without a pause: half a millisecond. Larger requests pause in between
and run one at a time, so that they do not block the loop."""

MAX_LARGE_REQUESTS = 16
"""Larger requests that may wait for their turn: each of them keeps about a megabyte."""

USELESS_ENTRIES = 100
"""This many entries with a dead or a repeated lease cost as much as one useless call."""

USELESS_CHARACTERS = 4096
"""This many characters of a report, which all go to the log, cost as much as one useless call."""

_FULL = "too much that this lambda produces is on its way to Kafka; nothing was written, ask again soon"
_ONE_AT_A_TIME = "the call Produce before this one, of the same lease, is under way: one at a time keeps their order"

MAX_CALLERS = 4_096
"""Connections whose lambda is remembered for the log; beyond this, the one with the oldest call is forgotten."""

Served: TypeAlias = Callable[[object, Context], Awaitable[bytes]]


class Calls:
    """All calls that carry a lease."""

    def __init__(
        self,
        lambdas: Mapping[str, LambdaRuntime],
        leases: Mapping[str, Mapping[Lease, Stream]],
        refusals: Refusals,
        arrivals: Arrivals,
    ) -> None:
        """``leases``: the streams with a partition, by the name of the identity that offered and by lease."""
        self._lambdas = lambdas
        self._leases = leases
        self._refusals = refusals
        self._arrivals = arrivals
        self._callers: dict[str, Mapping[str, object]] = {}
        self._large = asyncio.Semaphore(1)
        self._large_there = 0

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """The service's handlers by method."""
        methods = {"Checkpoint": self._checkpoint, "Error": self._error, "Produce": self._produce}
        return {name: grpc.stream_unary_rpc_method_handler(self._checked(call)) for name, call in methods.items()}

    def _checked(self, call: Callable[[bytes, str], Awaitable[tuple[bytes, float]]]) -> Served:
        """A handler that reads the message, delays answers to useless calls, and turns refusals into statuses."""

        async def checked(_: object, context: Context) -> bytes:
            peer = context.peer()
            try:
                # In one expression: no local variable keeps the message while the answer is late.
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

    @property
    def _own(self) -> Mapping[Lease, Stream]:
        """The streams of the caller's identity. To a caller the leases of others are unknown."""
        return self._leases.get(caller().identity.name, {})

    def _stream(self, lease: Lease, peer: str) -> Stream | None:
        """The caller's stream with this lease; ``peer`` is remembered as its caller."""
        stream = self._own.get(lease)
        if stream is not None:
            stream.seen = monotonic()
        if stream is not None and is_one_connection(peer):
            self._callers.pop(peer, None)
            self._callers[peer] = stream.about  # put last: the first has the oldest call
            if len(self._callers) > MAX_CALLERS:
                del self._callers[next(iter(self._callers))]
        return stream

    def _received(self, stream: Stream | None, data: bytes) -> None:
        """Count a frame of the stream's lambda; None: its lease is dead, so nobody knows whose it is."""
        if stream is not None:
            self._lambdas[stream.lambda_name].measure.received(len(data))

    def _count_times(self, message: pb.HandlerTimes) -> None:
        """Add the times of handlers to those of their lambda. Raises ``InvalidFrameError``."""
        lease, counts, seconds = frames.handler_times(message)
        stream = self._own.get(lease)
        if stream is not None:
            self._lambdas[stream.lambda_name].measure.handlers.merge(counts, seconds)

    def _about(self, peer: str) -> Mapping[str, object]:
        """The lambda whose call was refused, for the log. A message that gRPC refuses names no lease.

        So this is the lambda that called before on this connection, else those with a partition on the same host.
        """
        if caller := self._callers.get(peer):
            return caller
        host = host_of(peer)
        streams = {stream.process_id: stream for stream in self._own.values() if host_of(stream.peer) == host}
        if len(streams) == 1:
            return next(iter(streams.values())).about
        return {"lambdas": sorted({stream.lambda_name for stream in streams.values()})} if streams else {}

    async def _checkpoint(self, data: bytes, peer: str) -> tuple[bytes, float]:
        """Returns the response, and the cost of the useless entries in calls.

        All leases of one client are of one lambda, so the request counts as a frame of its first lease's lambda.
        """
        request = frames.parse(pb.CheckpointRequest, data)
        count = len(request.entries)
        if count > frames.MAX_ENTRIES:
            raise InvalidFrameError(f"entries: {count}, at most {frames.MAX_ENTRIES} fit into one request")
        if count:
            self._received(self._stream(request.entries[0].lease, peer), data)
        if request.HasField("handler_times"):
            self._count_times(request.handler_times)
        if count <= ENTRIES_AT_ONCE:
            return await self._checkpoint_all(request)
        if self._large_there >= MAX_LARGE_REQUESTS:
            large = f"{MAX_LARGE_REQUESTS} calls with more than {ENTRIES_AT_ONCE} of them"
            text = f"entries: {large} wait already; keep one call under way"
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
        living: dict[str, tuple[list[int], list[tuple[Lease, Progress]], dict[int, letters.Unit]]] = {}
        useful: set[Lease] = set()
        own = self._own
        entries = iter(request.entries)
        for first in range(0, count, ENTRIES_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            for index, lease, progress in frames.checkpoints(islice(entries, ENTRIES_AT_ONCE), first, own):
                stream = own[lease]
                indexes, known, units = living.setdefault(stream.lambda_name, ([], [], {}))
                indexes.append(index)
                known.append((lease, progress))
                useful.add(lease)
                if stream.held and (unit := transacting.unit_of(stream.held, lease, progress)) is not None:
                    units[len(known) - 1] = unit
        replies: dict[str, letters.Reply[list[tuple[CheckpointOutcome, int | None]]]] = {}
        for name, (_, known, units) in living.items():
            replies[name] = letters.Reply()
            self._lambdas[name].mailbox.put(letters.Checkpoints(known, replies[name], units))
        for name, (indexes, _, _) in living.items():
            for index, result in zip(indexes, await replies[name].future, strict=True):
                results[index] = _result(*result)
        useless = count - len(useful)
        return b"".join(results), 1 + useless / USELESS_ENTRIES if useless > len(useful) else 0.0

    async def _error(self, data: bytes, peer: str) -> tuple[bytes, float]:
        request = frames.parse(pb.ErrorRequest, data)
        stream = self._stream(request.lease, peer)
        self._received(stream, data)
        version = "" if stream is None else stream.offer.lambda_version
        failure, last = frames.failure(request, version)
        if stream is None:
            return pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_STALE_LEASE).SerializeToString(), 1.0
        lease = request.lease
        del data, request  # they may be larger than the parts that we keep
        unit = transacting.unit_of(stream.held, lease, last)
        if failure.action is not ErrorAction.REPORT:
            stream.fence()
        else:
            # Delay before the log line, not after it: a caller could cancel the delay and call again.
            await self._refusals.late(
                stream.process_id, 1 + len(failure.message + failure.stack) / USELESS_CHARACTERS
            )
        reply: letters.Reply[tuple[ErrorOutcome, float]] = letters.Reply()
        self._lambdas[stream.lambda_name].mailbox.put(letters.Failed(lease, failure, last, reply, unit))
        outcome, seconds = await reply.future
        response = pb.ErrorResponse(outcome=cast("pb.ErrorOutcome", outcome), retry_after_ms=round(seconds * 1000))
        return response.SerializeToString(), 0.0

    async def _produce(self, data: bytes, peer: str) -> tuple[bytes, float]:
        try:
            asked = producing.asked(data)
            stream = self._stream(asked.lease, peer)
            if stream is not None and stream.held is not None and not isinstance(asked, AskedToHold):
                asked = producing.asked_to_hold(data)
        except producing.InvalidColumnsError as malformed:
            self._received(self._stream(malformed.lease, peer), data)
            raise
        count = asked.count
        self._received(stream, data)
        del data
        if stream is None or not stream.alive:
            return producing.nothing_written(count, pb.PRODUCE_OUTCOME_STALE_LEASE, producing.STALE), 1.0
        hosted = self._lambdas[stream.lambda_name]
        if refused := producing.refused_topic(asked.topics, hosted.config, stream.caller.identity):
            return producing.nothing_written(count, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, refused), 1.0
        busy = pb.PRODUCE_OUTCOME_BUSY
        if stream.producing:  # only a client that does not wait gets here: a useless call
            return producing.nothing_written(count, busy, _ONE_AT_A_TIME, producing.BUSY_LEASE_MS), 1.0
        stream.producing = True
        try:
            if stream.held is not None and isinstance(asked, AskedToHold):
                return await transacting.produce(stream.held, asked, hosted.mailbox), 0.0
            return await asked.write(hosted.lambda_producer), 0.0
        except FullError:  # not the client's fault
            return producing.nothing_written(count, busy, _FULL, producing.BUSY_FULL_MS), 0.0
        finally:
            stream.producing = False


@lru_cache(maxsize=4_096)
def _result(outcome: CheckpointOutcome, delivered: int | None) -> bytes:
    """A serialized response with one result. Concatenated, such responses are the response with all results."""
    result = pb.CheckpointResult(outcome=cast("pb.CheckpointOutcome", outcome), delivered=delivered)
    return pb.CheckpointResponse(results=[result]).SerializeToString()
