"""The `LambdaHost` service: streams of lambda processes. Runs on the event loop.

gRPC passes bytes both ways: the consumer threads have serialized the frames of records, and clients' frames are
parsed here, so that invalid ones get INVALID_ARGUMENT with a reason.
"""

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config.lambdas import LambdaConfig
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import settle
from sidecar.partitions.vocabulary import (
    Assign,
    Committed,
    EndReason,
    EndStream,
    Hung,
    Lease,
    Resumed,
    Revoke,
    RevokeReason,
    StreamId,
)
from sidecar.server import frames
from sidecar.server.arrivals import Arrivals
from sidecar.server.calls import Calls
from sidecar.server.frames import InvalidFrameError, Offered
from sidecar.server.identities import Caller, Identity, caller
from sidecar.server.limits import limits
from sidecar.server.memory_desk import MemoryDesk
from sidecar.server.reading import Reader
from sidecar.server.refusals import Context, Refusals, Refused, abort, is_one_connection
from sidecar.server.runtime import LambdaRuntime
from sidecar.server.silent import Silent
from sidecar.server.stream import Stream
from sidecar.server.transacting import new_held
from sidecar.shared_memory.ring import ring_size
from sidecar.status import ProcessStatus
from sidecar.version import VERSION

MAX_SPARES = 4
"""Spare streams of one process for each lambda: it needs one, and two while it reconnects."""

MAX_WITHOUT_PARTITION = 1_000
"""Spare streams of all lambdas together. Beyond a lambda's share, streams without Available make room."""

MIN_SHARE = 100
"""Each lambda has an equal share of these, at least this many: no lambda can use up the others' streams."""

SERVICE = "kafka_sidecar.v1.LambdaHost"

_MADE_ROOM = (
    "{} streams wait for a partition of {!r}; this one, the oldest without Available of those with the most, makes "
    "room; offer again, with back-off"
)

_NOT_ACCEPTED = "the token with which this stream began is not accepted any more; offer again with the new one"

_DEAD_AT_ONCE = frozenset({RevokeReason.LOST, RevokeReason.SEEK, RevokeReason.ABORTED})
"""The lease is dead when the lambda hears of it."""

_log = get_logger(__name__)
_END_STATUS = {
    EndReason.TOO_LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
    EndReason.PROTOCOL: grpc.StatusCode.INVALID_ARGUMENT,
}


@dataclass(slots=True)
class ProcessInfo:
    """A lambda process's own information; kept while the process has a stream."""

    instance: str
    pid: int
    client: str
    lambda_version: str = ""
    streams: int = 0
    identity: str = ""
    """The name of the identity that it has; empty: the config asks for no proof."""


class LambdaHost:
    """All streams of all lambdas. Owned by the loop; consumer threads reach it by ``deliver``."""

    def __init__(
        self,
        lambdas: Mapping[str, LambdaRuntime],
        health: Callable[[bool], None],
        *,
        exit: Callable[[str, str], None],  # noqa: A002 - it ends the sidecar
        stuck: Callable[[str, int], None],
    ) -> None:
        """``health`` is called after each change with whether all lambdas can consume.

        ``exit`` is called with a lambda's name and a reason when `on_critical: exit` ends the sidecar. ``stuck`` is
        called with a lambda's name and a process id, as the process told it, when that process may be stuck.
        """
        self._lambdas = lambdas
        self._health = health
        self._exit = exit
        self._stuck = stuck
        self._ready: set[str] = set()
        self._streams: dict[StreamId, Stream] = {}
        self._leases: defaultdict[str, dict[Lease, Stream]] = defaultdict(dict)
        """The streams with a partition, by the name of the identity that offered and by lease."""
        self._spares: Counter[str] = Counter()
        self._spares_of_process: Counter[tuple[str, str]] = Counter()
        self._ids = itertools.count(1)
        self._unavailable: dict[str, Silent[Stream]] = {}
        """By lambda, the streams without Available: loading a plugin may take long, or never happen."""
        self._refusing = ""
        self.refusals = Refusals()
        self.arrivals = Arrivals(self.refusals)
        self._calls = Calls(lambdas, self._leases, self.refusals, self.arrivals)
        self.processes: dict[str, ProcessInfo] = {}
        self.memory: MemoryDesk | None = None
        """Where processes get memory for large frames; None: they get none."""

    def introduce(self, lambda_name: str, processes: Iterable[ProcessStatus]) -> list[ProcessStatus]:
        """Add what the streams of these processes of one lambda tell."""
        streams: dict[str, list[Stream]] = {}
        for stream in self._streams.values():
            if stream.lambda_name == lambda_name:
                streams.setdefault(stream.process_id, []).append(stream)
        return [self._introduce(process, streams.get(process.process_id, [])) for process in processes]

    def _introduce(self, status: ProcessStatus, streams: list[Stream]) -> ProcessStatus:
        info = self.processes.get(status.process_id)
        if info is None or not streams:  # it has just ended
            return replace(status, instance=status.process_id)
        return replace(
            status,
            instance=info.instance,
            pid=info.pid,
            client=info.client,
            lambda_version=info.lambda_version,
            identity=info.identity,
            peer=streams[0].peer,
            connected_since=min(stream.began for stream in streams),
            last_seen=max(stream.seen for stream in streams),
        )

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for a gRPC server. All messages are passed as bytes."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Serve": grpc.stream_stream_rpc_method_handler(self._serve),
            **self._calls.handlers(),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def refuse(self, reason: str) -> None:
        """Refuse offers from now on, and end the spare streams."""
        self._refusing = reason
        for stream in self._streams.values():
            if stream.lease is None:
                stream.end(grpc.StatusCode.UNAVAILABLE, reason)

    def end_refused(self, valid: Callable[[Caller], bool]) -> None:
        """End the streams whose caller would not be let in any more."""
        for stream in self._streams.values():
            if not valid(stream.caller):
                stream.end(grpc.StatusCode.UNAUTHENTICATED, _NOT_ACCEPTED)

    def deliver(self, items: list[letters.Delivery]) -> None:
        """Take a consumer thread's letters, in their order. Called on the loop."""
        for item in items:
            match item:
                case letters.Answer():
                    settle(item)
                case letters.Readiness(name, is_ready):
                    (self._ready.add if is_ready else self._ready.discard)(name)
                    self._health(len(self._ready) == len(self._lambdas))
                case letters.Exit(name, reason):
                    self._exit(name, reason)
                case _:
                    stream = self._streams.get(item.stream)
                    if stream is not None:  # else it has ended; StreamLost tells the thread
                        self._tell(stream, item)

    def _tell(
        self, stream: Stream, item: letters.Send | Assign | Revoke | Resumed | Committed | Hung | EndStream
    ) -> None:
        match item:
            case letters.Send(_, data, rings):
                stream.push(data, written_rings=rings)
            case Committed(_, offset):
                stream.committed(offset)
            case Hung():
                self._stuck(stream.lambda_name, stream.offer.pid)
            case Assign():
                self._not_spare(stream)
                stream.lease = item.lease
                if self._lambdas[stream.lambda_name].config.exactly_once:
                    stream.held = new_held()
                self._leases[stream.caller.identity.name][item.lease] = stream
                stream.push(frames.assigned(item, self._offer_memory(stream)))
            case Revoke():
                if item.reason in _DEAD_AT_ONCE:
                    stream.fence()
                stream.push(frames.revoked(item))
            case Resumed():
                stream.push(frames.resumed(item))
            case EndStream(_, reason, text):
                stream.end(_END_STATUS[reason], text)

    def _offer_memory(self, stream: Stream) -> pb.SharedMemory | None:
        """Offer memory to a stream that gets a partition, if its client can share it."""
        if self.memory is None or frames.SHARED_MEMORY not in stream.offer.capabilities:
            return None
        share = self.memory.offer(ring_size(self._lambdas[stream.lambda_name].config.frame.bytes))
        if share is None:
            return None
        stream.share = share
        return pb.SharedMemory(token=share.token, bytes=share.size)

    # --- the stream -------------------------------------------------------------------------------------------

    async def _serve(self, _: object, context: Context) -> None:
        peer = context.peer()
        about: dict[str, object] = {}
        try:
            offer = frames.offered(await self.arrivals.offer(context))
            about = {"lambda_": offer.lambda_name, "process": offer.process_id}
            who = caller()
            about.update({"identity": who.identity.name} if who.identity.name else {})
            self._check(offer, who.identity)
            if is_one_connection(peer):
                await self.refusals.late(peer, 0.0)
            await self._live(context, self._begin(self._accepted(offer), peer, who))
        except InvalidFrameError as error:
            status, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except Refused as refused:
            status, text = refused.status, str(refused)
        else:
            return
        if status is grpc.StatusCode.UNAVAILABLE:  # not the client's fault
            await abort(context, status, text)
        await self.refusals.refuse(context, status, text, about, peer=peer)

    @property
    def _share(self) -> int:
        """The number of spare streams that one lambda may have."""
        return max(MIN_SHARE, MAX_WITHOUT_PARTITION // len(self._lambdas))

    def _accepted(self, offer: Offered) -> Offered:
        """The offer, with those of its capabilities that this sidecar's config and system allow."""
        if self.memory is not None:
            return offer
        return replace(offer, capabilities=tuple(one for one in offer.capabilities if one != frames.SHARED_MEMORY))

    def _begin(self, offer: Offered, peer: str, who: Caller) -> Stream:
        """Accept an offer: register its stream. Raises ``Refused``."""
        name, process = offer.lambda_name, offer.process_id
        known = self.processes.get(process)
        if known is not None and known.identity != who.identity.name:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                "offer.process_id: a process of another identity has it; it is random, and no two processes share it",
            )
        if self._spares_of_process[name, process] >= MAX_SPARES:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"offer.process_id: {MAX_SPARES} streams of this process wait for a partition of {name!r} already; "
                "keep one, and open the next when it is assigned",
            )
        share = self._share
        unavailable = self._unavailable.setdefault(name, Silent(share))
        if self._spares[name] >= share:
            silent = unavailable.victim()
            if silent is None:
                raise Refused(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"offer.lambda_name: {share} streams wait for a partition of {name!r} already; "
                    "start fewer processes, or offer again later",
                )
            silent.end(grpc.StatusCode.RESOURCE_EXHAUSTED, _MADE_ROOM.format(share, name))
        stream = Stream(next(self._ids), offer, peer, who)
        unavailable.add(stream.who, stream)
        self._spares[name] += 1
        self._spares_of_process[name, process] += 1
        self._streams[stream.id] = stream
        self._count(stream, 1)
        return stream

    def _available(self, stream: Stream) -> None:
        """The stream has sent Available, or has ended."""
        self._unavailable[stream.lambda_name].remove(stream.who, stream)

    def _not_spare(self, stream: Stream) -> None:
        """The stream gets a partition, or has ended without one."""
        if stream.lease is not None:
            return
        self._spares[stream.lambda_name] -= 1
        key = (stream.lambda_name, stream.process_id)
        self._spares_of_process[key] -= 1
        if not self._spares_of_process[key]:
            del self._spares_of_process[key]

    async def _live(self, context: Context, stream: Stream) -> None:
        """Run the stream from Welcome to its end. Raises ``InvalidFrameError`` and ``Refused``."""
        hosted = self._lambdas[stream.lambda_name]
        tasks: list[asyncio.Future[Any]] = []
        try:
            welcome = _welcome(hosted.config, stream.offer, limits(MAX_SPARES, self._share))
            await context.write(welcome)
            hosted.measure.sent(len(welcome))
            reading = Reader(context, stream, hosted.mailbox, partial(self._available, stream), hosted.measure)
            reader = asyncio.ensure_future(reading.read_all())
            tasks.append(reader)
            tasks.append(
                asyncio.ensure_future(
                    stream.write_all(
                        context,
                        lambda stream_id, rings: hosted.mailbox.put(letters.Written(stream_id), rings=rings),
                        self._hung,
                        hosted.measure,
                    )
                )
            )
            # The reader ends after Closed or the client's end of the stream, the writer only when the client is gone.
            await asyncio.wait([*tasks, stream.ended], return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            elif stream.ended.done():
                raise Refused(*stream.ended.result())
        finally:
            for task in tasks:
                task.cancel()
            self._available(stream)
            self._not_spare(stream)
            del self._streams[stream.id]
            if stream.lease is None:
                self.refusals.charge(stream.peer)  # streams that come and go cost the most
            else:
                del self._leases[stream.caller.identity.name][stream.lease]
            self._count(stream, -1)
            if stream.share is not None and self.memory is not None:
                self.memory.end(stream.share)
            # After Closed the thread knows already; in all other cases this tells it.
            hosted.mailbox.put(letters.StreamLost(stream.id))

    def _hung(self, process_id: str) -> None:
        """End all streams of a process that does not read. It may offer again when it wakes."""
        info = self.processes.get(process_id)
        instance = info.instance if info is not None else ""
        _log.warning("lambda process does not read, ending its streams", process=process_id, instance=instance)
        for stream in self._streams.values():
            if stream.process_id == process_id:
                stream.end(grpc.StatusCode.UNAVAILABLE, "the process did not read for some seconds; offer again")

    def _check(self, offer: Offered, identity: Identity) -> None:
        """Raises ``Refused`` when the offer cannot be accepted.

        Lambdas for which the identity may not offer do not exist for it.
        """
        if self._refusing:
            raise Refused(grpc.StatusCode.UNAVAILABLE, self._refusing)
        if offer.protocol_version < frames.PROTOCOL_VERSION:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"offer.protocol_version: {offer.protocol_version} is too old, this sidecar speaks "
                f"{frames.PROTOCOL_VERSION}; update the lambda's SDK",
            )
        there = sorted(filter(identity.may_offer, self._lambdas))
        if offer.lambda_name not in there:
            limited = f" for the identity {identity.name!r}" if len(there) < len(self._lambdas) else ""
            raise Refused(
                grpc.StatusCode.NOT_FOUND,
                f"offer.lambda_name: the sidecar's config has no lambda {offer.lambda_name!r}{limited}; "
                f"it has: {', '.join(there) or 'none'}",
            )

        if self._lambdas[offer.lambda_name].config.exactly_once and frames.EXACTLY_ONCE not in offer.capabilities:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"offer.capabilities: {offer.lambda_name!r} has `guarantee: {frames.EXACTLY_ONCE}`, and this client "
                f"does not offer {frames.EXACTLY_ONCE!r}; update the lambda's SDK, or use at-least-once",
            )

    def _count(self, stream: Stream, by: int) -> None:
        offer, name = stream.offer, stream.caller.identity.name
        info = self.processes.setdefault(
            offer.process_id,
            ProcessInfo(offer.instance, offer.pid, offer.client, offer.lambda_version, identity=name),
        )
        info.streams += by
        if info.streams == 0:
            del self.processes[offer.process_id]


def _welcome(config: LambdaConfig, offer: Offered, enforced: pb.Limits) -> bytes:
    settings = dict(config.settings)
    if config.document_lambda is not None:  # for the document router, which only sees the settings
        settings["document_lambda"] = config.document_lambda
    return pb.HostFrame(
        welcome=pb.Welcome(
            settings_json=json.dumps(settings),
            protocol_version=frames.PROTOCOL_VERSION,
            capabilities=offer.capabilities,
            window_messages=config.window.messages,
            window_bytes=config.window.bytes,
            max_frame_bytes=config.frame.bytes,
            sidecar_version=VERSION,
            window_span=config.window.span,
            limits=enforced,
            max_state_bytes=config.max_state_bytes,
            guarantee=pb.GUARANTEE_EXACTLY_ONCE if config.exactly_once else pb.GUARANTEE_AT_LEAST_ONCE,
        )
    ).SerializeToString()
