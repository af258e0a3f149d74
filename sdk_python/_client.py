"""One process's client for one lambda: keeps one spare stream open, and runs a `Life` for each that gets a partition.

::

    offer ──► Welcome ──► plugin.create (once) ──► Available ──► Assigned ──► a Life, and the next offer
      ▲                                                │
      └──── back-off ◄──── the stream broke ───────────┘

Owner: the event loop. One task (`_keep_offering`) opens streams, so there is never more than one spare.
"""

import asyncio
import os
import platform
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from logging import INFO, WARNING
from typing import Any, Final

from ._awaiting import Deadline, awaited, finished
from ._checkpoints import CheckpointSender
from ._connection import MAX_MESSAGE_BYTES, Connection, Endpoint, LinkError, Stream
from ._counters import Counters
from ._errors import RefusedError, SettingsError, clip, message_of, type_of
from ._exposition import Metric
from ._fitting import check_guarantee, checked_factory
from ._handler_times import HandlerTimes
from ._host import Host
from ._interfaces import IPartitionLambdaFactory, IPlugin
from ._leaving import exit_in, is_ours
from ._life import Life
from ._limits import COMMITTED, EXACTLY_ONCE, Terms
from ._loading import version_of
from ._log import log
from ._loop_budget import LoopBudget
from ._message import FrameError
from ._metrics import Present, metrics_of
from ._settings import Override, layered
from ._shared_memory import SHARED_MEMORY, can_share, path_of
from .protocol import lambda_pb2 as pb

PROTOCOL_VERSION: Final = 1
DRAIN_TIMEOUT_S: Final = 10.0
"""Seconds for handlers, closes and dispose when the process is asked to stop."""

# Shares of the drain timeout, after which the next step begins.
_PARTITION_SHARE: Final = 0.8
_LIVES_SHARE: Final = 0.85
_LATE_SHARE: Final = 0.9
_DISPOSE_SHARE: Final = 0.95
_MIN_DISPOSE_S: Final = 0.2
_LOG_AGAIN_S: Final = 60.0
_LOG_CHANGES_S: Final = 5.0
_WELCOME_TIMEOUT_S: Final = 30.0
_MIN_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 2.0  # a sidecar that comes back is found within this time
_MIN_REFUSED_BACKOFF_S: Final = 5.0
_MAX_REFUSED_BACKOFF_S: Final = 30.0
_STABLE_S: Final = 1.0
"""Seconds after which a stream counts as one that worked, so that the retry after it is immediate again."""
_AVAILABLE: Final = pb.LambdaFrame(available=pb.Available())


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a client."""

    max_partitions: int | None = None
    """How many partitions this process takes at the same time; None: as many as the sidecar gives."""
    drain_timeout: float = DRAIN_TIMEOUT_S
    """In seconds."""
    environment: Sequence[Override] = ()
    assignments: Sequence[Override] = ()
    on_created: Callable[[], None] = lambda: None
    """Called once after ``plugin.create``."""


class Client:
    """Serves one lambda until `stop`."""

    def __init__(self, name: str, plugin: IPlugin, endpoint: Endpoint, options: Options | None = None) -> None:
        self.name = name
        self._plugin = plugin
        self._endpoint = endpoint
        self._options = options or Options()
        self._connection = Connection(endpoint)
        self._times = HandlerTimes()
        self._sender = CheckpointSender(self._checkpoint, self._times)
        self._counters = Counters()
        self._budget = LoopBudget()
        self._factory: IPartitionLambdaFactory | None = None
        self._config: Mapping[str, Any] = {}
        self._settings_json: str | None = None
        self._lives: dict[asyncio.Task[None], Life] = {}
        self._stopping = asyncio.Event()
        self.leaving: BaseException | None = None
        """What the lambda's code raised to end this process. `run` returns, and its caller raises it again."""
        self.on_stop: Callable[[], None] = lambda: None
        """Called when the end begins."""
        self.late = False
        """True when a lambda's code did not end within the drain timeout, not even when it was cancelled."""
        self.left: list[str] = []
        """What did not end within the drain timeout, in words."""
        self._said = ""
        self._said_at = float("-inf")
        self._welcomed = False
        self._connected = False
        self._answered = True
        """The last stream that was opened has got its Welcome."""
        self._offer = _offer(
            name, version_of(plugin, os.environ), shares_memory=can_share() and bool(path_of(endpoint.address))
        )

    def stop(self) -> None:
        """Drain and end; `run` returns when it is done. May be called again."""
        self.on_stop()
        self._stopping.set()

    @property
    def left_now(self) -> list[str]:
        """What has not ended yet, in words. May be asked in any thread."""
        return [*self.left, *(life.left_behind(late=True) for life in [*self._lives.values()])]

    @property
    def present(self) -> Present:
        """What this process has at the moment. A partition whose stream goes on is a connection too."""
        lives = [*self._lives.values()]
        return Present(
            connected=self._connected or any(not life.ending.done() for life in lives),
            draining=self._stopping.is_set(),
            partitions=len(lives),
            streams=self._connection.streams,
            waiting=sum(life.dispatcher.waiting for life in lives),
        )

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics of this process."""
        versions = {"version": _version(), "lambda_version": self._offer.offer.lambda_version}
        return metrics_of(self.name, versions, self._counters, self._times, self.present)

    def leave(self, error: BaseException) -> None:
        """Drain because the lambda's code asks for the end of the process, and keep in `leaving` how it asked."""
        if self.leaving is None:
            self.leaving = error
        self.stop()

    async def run(self) -> None:
        """Serve until `stop`, or until cancelled, which drains as well.

        Raises:
            RefusedError: the sidecar refused the very first Offer.
            SettingsError: TLS with the sidecar cannot work with these settings.
            PluginError: what ``plugin.create`` returned does not fit the interfaces, or the plugin not the guarantee.
            Exception: whatever ``plugin.create`` raised.
        """
        sender = asyncio.create_task(self._sender.run())
        offering = asyncio.create_task(self._keep_offering())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({offering, sender, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (offering, sender):
                if task.done():
                    task.result()
        finally:
            self.stop()
            # Cancelling the offer also ends the spare stream. If a partition is assigned to it at this moment, the
            # sidecar sees the stream end before Ready, and the partition waits for another process.
            offering.cancel()
            stopping.cancel()
            await asyncio.gather(offering, stopping, return_exceptions=True)
            await self._drain()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await self._connection.close()

    async def _drain(self) -> None:
        """End all lives at the same time, then dispose; both within the drain timeout."""
        whole = Deadline(self._options.drain_timeout)
        if self._lives:
            log.info("%s: drains %d partitions", self.name, len(self._lives))
            lives = dict(self._lives)
            for life in lives.values():
                life.stop()
            _, late = await asyncio.wait(set(lives), timeout=whole.left(_LIVES_SHARE))
            for task in late:
                lives[task].log.error("did not end within the drain timeout")
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=whole.left(_LATE_SHARE))
            self.late = bool(late) or any(life.stuck for life in lives.values())
            self.left += [life.left_behind(late=task in late) for task, life in lives.items()]
        if self._factory is not None:
            disposing = asyncio.create_task(self._dispose(self._factory))
            if not await finished(disposing, max(_MIN_DISPOSE_S, whole.left(_DISPOSE_SHARE))):
                log.error("%s: dispose did not end within the drain timeout", self.name)
                self.left.append("dispose")
                disposing.cancel()
        self.left = [what for what in self.left if what]

    async def _dispose(self, factory: IPartitionLambdaFactory) -> None:
        try:
            await awaited(factory.dispose())
        except BaseException as error:
            if is_ours(error, asyncio.current_task()):
                raise
            log.exception("%s: dispose failed", self.name)
            if (leaving := exit_in(error)) is not None:
                self.leave(leaving)

    # ------------------------------------------------------------------------------------------- offering

    async def _keep_offering(self) -> None:
        failures = 0
        while True:
            await self._have_room()
            began = time.monotonic()
            try:
                assigned = await self._offer_once()
            except RefusedError as error:
                self._connected = False
                if not self._welcomed:
                    raise
                self._say(str(error), f"{error}; asking again in case the config changes", loud=True)
                failures = 0 if time.monotonic() - began > _STABLE_S else failures
                delay = min(_MAX_REFUSED_BACKOFF_S, _MIN_REFUSED_BACKOFF_S * 2**failures)
            except (LinkError, FrameError) as error:
                self._connected = False
                why, never = self._endpoint.why(error)
                if never and not self._welcomed:
                    raise SettingsError(why) from None
                self._say_waits(why)
                failures = 0 if time.monotonic() - began > _STABLE_S else failures
                # The first retry is immediate: usually the sidecar was restarted, or an idle connection was cut.
                delay = min(_MAX_BACKOFF_S, _MIN_BACKOFF_S * 2 ** (failures - 1)) if failures else 0.0
            else:
                failures = 0 if assigned else failures
                continue
            failures = min(failures + 1, 16)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  no secret
            await self._old_lives_closed()

    async def _have_room(self) -> None:
        limit = self._options.max_partitions
        while limit is not None and len(self._lives) >= limit:
            await asyncio.wait(set(self._lives), return_when=asyncio.FIRST_COMPLETED)

    async def _old_lives_closed(self) -> None:
        """Wait after a stream broke until the lambdas whose streams broke too are closed. Then offer again."""
        lost = {task for task, life in self._lives.items() if life.ending.done()}
        if lost:
            await asyncio.wait(lost)

    async def _offer_once(self) -> bool:
        """Keep one spare stream until it gets a partition; returns False when it got none."""
        stream = self._connection.open()
        taken = False
        try:
            await stream.write(self._offer)
            # At once saves a round trip: the sidecar reads it when it has written its Welcome. But not after a stream
            # that got none: (1) The sidecar refuses the Offer. (2) Available is written while the status is on its
            # way. (3) The write fails, and gRPC replaces the status by INTERNAL (grpc#36066); the refusal is lost.
            at_once = self._factory is not None and self._answered
            self._answered = False
            if at_once:
                await stream.write(_AVAILABLE)
            try:
                async with asyncio.timeout(_WELCOME_TIMEOUT_S):
                    welcome = (await self._expect(stream, "welcome")).welcome
            except TimeoutError:
                raise LinkError(f"no Welcome within {_WELCOME_TIMEOUT_S:.0f} s") from None
            self._welcomed = self._answered = self._connected = True
            connected = f"connected to sidecar {welcome.sidecar_version} at {self._endpoint.address}"
            self._say(connected, connected)
            terms = Terms.told(welcome)
            self._sender.limits = terms.limits
            factory = await self._created(welcome)
            if not at_once:
                await stream.write(_AVAILABLE)
            assigned = (await self._expect(stream, "assigned")).assigned
            host = Host(
                lambda_name=self.name,
                factory=factory,
                config=self._config,
                sink=self._sender,
                calls=self._connection,
                budget=self._budget,
                times=self._times,
                counters=self._counters,
                terms=terms,
                drain_timeout=self._options.drain_timeout * _PARTITION_SHARE,
                leave=self.leave,
                socket_path=path_of(self._endpoint.address),
            )
            self._begin(Life(assigned, stream, host))
            taken = True
        finally:
            if not taken:
                stream.close()
        return taken

    async def _expect(self, stream: Stream, kind: str) -> pb.HostFrame:
        while (frame := await stream.read()) is not None:
            if not isinstance(frame, pb.HostFrame):
                raise FrameError(f"batch came before {kind}")
            came = frame.WhichOneof("frame")
            if came == kind:
                return frame
            if came is not None:  # None: a kind of frame of a newer contract
                raise FrameError(f"{came} came before {kind}")
        raise LinkError("the sidecar ended the stream")

    async def _created(self, welcome: pb.Welcome) -> IPartitionLambdaFactory:
        """Return the factory, which is made once per process with the settings of the first Welcome."""
        check_guarantee(self._plugin, exactly_once=welcome.guarantee == pb.GUARANTEE_EXACTLY_ONCE)
        if self._factory is not None:
            if welcome.settings_json != self._settings_json:
                self._settings_json = welcome.settings_json
                log.warning("%s: the sidecar has other settings now: restart this process to use them", self.name)
            return self._factory
        self._settings_json = welcome.settings_json
        self._config = layered(welcome.settings_json, self._options.environment, self._options.assignments)
        try:
            factory = checked_factory(await awaited(self._plugin.create(self._config)))
        except BaseException as error:
            if is_ours(error, asyncio.current_task()):
                raise
            if (leaving := exit_in(error)) is not None:
                # Not raised: a task that ends with SystemExit ends the event loop with it.
                log.warning("%s: %s in plugin.create: this process ends", self.name, type_of(leaving), exc_info=error)
                self.leave(leaving)
                await asyncio.get_running_loop().create_future()  # `run` cancels it
            if isinstance(error, asyncio.CancelledError):
                raise RuntimeError(  # noqa: TRY004  no wrong type
                    f"plugin.create was cancelled from inside: {message_of(error)}"
                ) from error
            raise
        self._factory = factory
        self._options.on_created()
        return factory

    async def _checkpoint(self, request: pb.CheckpointRequest) -> pb.CheckpointResponse:
        counters = self._counters
        counters.checkpoint_calls += 1
        try:
            return await self._connection.checkpoint(request)
        except (LinkError, RefusedError):
            counters.checkpoint_failures += 1
            raise

    def _begin(self, life: Life) -> None:
        self._counters.leases += 1
        self._sender.add(life.progress)
        earlier = [task for task, other in self._lives.items() if other.place.overlaps(life.place)]
        task = asyncio.create_task(life.run(after=earlier))
        self._lives[task] = life
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        life = self._lives.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            life.log.error("a fault of the SDK, not of the lambda", exc_info=error)

    def _say_waits(self, why: str) -> None:
        """Log why there is no sidecar: when the reason changes, and now and then while it stays."""
        now = time.monotonic()
        since = now - self._said_at
        if since < (_LOG_AGAIN_S if why == self._said else _LOG_CHANGES_S):
            return
        self._said, self._said_at = why, now
        log.warning("%s: waits for the sidecar at %s: %s", self.name, self._endpoint.address, why)

    def _say(self, state: str, text: str, *, loud: bool = False) -> None:
        """Log ``text`` if ``state`` is another than the last time."""
        if state != self._said:
            self._said, self._said_at = state, float("-inf")
            log.log(WARNING if loud else INFO, "%s: %s", self.name, text)


def _offer(name: str, lambda_version: str, *, shares_memory: bool = False) -> pb.LambdaFrame:
    offer = pb.Offer(
        lambda_name=name,
        process_id=uuid.uuid4().hex,
        instance=clip(f"{socket.gethostname()}:{os.getpid()}", 256),
        protocol_version=PROTOCOL_VERSION,
        client=pb.Client(
            name="kafka-sidecar-sdk", version=_version(), language=f"python {platform.python_version()}"
        ),
        max_message_bytes=MAX_MESSAGE_BYTES,
        capabilities=(COMMITTED, EXACTLY_ONCE, *((SHARED_MEMORY,) if shares_memory else ())),
        pid=os.getpid(),
        lambda_version=clip(lambda_version, 256),
    )
    return pb.LambdaFrame(offer=offer)


def _version() -> str:
    try:
        return metadata.version("kafka-sidecar-sdk")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"
