"""A client that breaks every rule, as fast as it can: `python -m tests.integration.hostile.attacker KIND ...`.

It prints `attacking` when the attack has begun, and at the end one JSON line that says how its calls ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import random
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic
from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb

HOST = "/kafka_sidecar.v1.LambdaHost/"
STATUS = "/kafka_sidecar.admin.v1.Admin/Status"
CONNECTIONS = 4
AT_ONCE = 64
"""Calls under way at a time, on all connections together: enough to keep a core busy."""
MOST_TEXTS = 50

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)


class Attack:
    """One attack: its connections, its end, and its results."""

    def __init__(
        self, address: str, seconds: float, channels: list[grpc.aio.Channel], limit: asyncio.Timeout
    ) -> None:
        """``seconds``: how long the attack lasts, once it has begun. ``limit`` then ends it."""
        self.address = address
        self._seconds = seconds
        self._limit = limit
        self._end = math.inf
        self._channels = itertools.cycle(channels)
        self.statuses: Counter[str] = Counter()
        self.texts: dict[str, None] = {}
        """The first `MOST_TEXTS` different texts of refusals, in their order."""

    def begun(self) -> None:
        """The attack has begun: its time counts from now on. What it needed before may have taken a while."""
        if self._end == math.inf:
            self._end = monotonic() + self._seconds
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
            print("attacking", flush=True)

    async def over(self) -> None:
        """Wait until the attack is over."""
        await asyncio.sleep(self._end - monotonic())

    def goes_on(self) -> bool:
        """Whether the attack is not over yet."""
        return monotonic() < self._end

    async def ended(self, call: Any) -> None:
        """A call ended with a refusal. Its status is the sidecar's; a write that fails afterwards would say less."""
        code = await call.code()
        self.statuses[code.name] += 1
        if len(self.texts) < MOST_TEXTS:
            self.texts[await call.details()] = None

    async def call(self, method: str, data: bytes) -> bytes | None:
        """Make a unary call. Returns the answer; None: it was refused."""
        multicallable: Any = next(self._channels).unary_unary(HOST + method)
        call = multicallable(data)
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError:
            await self.ended(call)
            return None
        self.statuses["OK"] += 1
        return answer

    def stream(self) -> Any:
        """Open a stream, on the next connection in turn."""
        return next(self._channels).stream_stream(HOST + "Serve")()

    async def stream_of(self, *frames: bytes, refused: bool = False) -> None:
        """Open a stream, write these frames, and read until the stream ends.

        ``refused``: the sidecar refuses the last frame. So this side is not ended: a write after the refusal would
        take the place of its status (grpc#36066).
        """
        call = self.stream()
        try:
            for frame in frames:
                await call.write(frame)
            if not refused:
                await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.ended(call)
        else:
            self.statuses["OK"] += 1

    async def partition(self, name: str) -> tuple[Any, str]:
        """Open a stream, and take a partition. Returns the stream after Ready, and its lease."""
        call = self.stream()
        await call.write(frame(offer=offer(name)))
        await call.write(frame(available=pb.Available()))
        lease = ""
        while not lease:
            lease = pb.HostFrame.FromString(await call.read()).assigned.lease
        await call.write(frame(ready=pb.Ready(lease=lease)))
        return call, lease

    async def many(self, one: Callable[[], Awaitable[object]], at_once: int = AT_ONCE, first: int = 0) -> None:
        """Call ``one`` again and again until the attack is over, ``at_once`` calls at a time.

        The attack begins when the ``first`` calls have been answered, one after the other. The sidecar answers
        useless calls late and few of them at a time, so without it a kind of call may have no answer before the end.
        """
        for _ in range(first):
            await one()
        self.begun()

        async def again() -> None:
            while self.goes_on():
                await one()

        await asyncio.gather(*(again() for _ in range(at_once)))


def frame(**arm: Any) -> bytes:
    return pb.LambdaFrame(**arm).SerializeToString()


def offer(name: str = "second", **fields: Any) -> pb.Offer:
    return pb.Offer(**{"lambda_name": name, "process_id": uuid.uuid4().hex, "protocol_version": 1, **fields})


# --- the attacks --------------------------------------------------------------------------------------------------


async def noise(attack: Attack) -> None:
    """Send random bytes, as frames and as calls."""
    chance = random.Random(7)
    nonsense = b"\x0a\xff\xff\xff\xff"
    sizes = itertools.cycle([1, 20, 300, 5_000])

    async def one() -> None:
        data = chance.randbytes(next(sizes))
        await attack.stream_of(data)
        await attack.stream_of(frame(offer=offer()), nonsense + data)
        await attack.call(chance.choice(["Checkpoint", "Error"]), nonsense + chance.randbytes(100))

    await attack.many(one, first=8)


async def strangers(attack: Attack) -> None:
    """Offers that are refused: an unknown lambda, an old protocol, no name, a long version, two on one stream."""
    rounds: Iterator[Callable[[], list[pb.Offer]]] = itertools.cycle(
        [
            lambda: [offer("nobody's")],
            lambda: [offer("echo", protocol_version=0)],
            lambda: [offer("")],
            lambda: [offer("echo", lambda_version="x" * 257)],
            lambda: [offer(), offer()],
        ]
    )

    def refused() -> Awaitable[object]:
        return attack.stream_of(*[frame(offer=one) for one in next(rounds)()], refused=True)

    await attack.many(refused, 500, first=5)


async def spares(attack: Attack) -> None:
    """Open 10,000 spare streams, a tenth of them for one process, and keep those that are not refused."""
    numbers = itertools.count()
    held: list[Any] = []

    async def one(channels: list[grpc.aio.Channel]) -> None:
        number = next(numbers)
        if number >= 10_000:
            await attack.over()
            return
        call: Any = channels[number % len(channels)].stream_stream(HOST + "Serve")()
        try:
            await call.write(frame(offer=offer(process_id=f"process-{number}" if number % 10 else "one")))
            if await call.read() is grpc.aio.EOF:
                # It was refused. A write now would take the place of the refusal's status (grpc#36066).
                await attack.ended(call)
                return
            await call.write(frame(available=pb.Available()))
            held.append(call)
            attack.statuses["HELD"] += 1
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await attack.ended(call)

    async with AsyncExitStack() as stack:
        # The sidecar allows few streams on one connection, so this takes many connections.
        channels = [await stack.enter_async_context(dial(attack.address)) for _ in range(40)]
        await attack.many(lambda: one(channels), 800)


async def come_and_go(attack: Attack) -> None:
    """Streams that offer, and are cancelled when Welcome comes."""

    async def one() -> None:
        call = attack.stream()
        await call.write(frame(offer=offer()))
        await call.read()
        call.cancel()
        attack.statuses["CANCELLED"] += 1

    await attack.many(one)


async def flood(attack: Attack) -> None:
    """Endless frames without meaning, on streams that wait and on one that has a partition."""
    running, _ = await attack.partition("second")
    attack.begun()
    silent = [b"", b"\xfa\x7f\x03new", frame(resume=pb.Resume()), frame(pause=pb.Pause(number=1, reason="x" * 9_000))]

    async def endless(call: Any, frames: list[bytes]) -> None:
        for data in itertools.cycle(frames):
            await call.write(data)
            attack.statuses["WRITTEN"] += 1

    waiting = []
    for _ in range(AT_ONCE):
        call = attack.stream()
        await call.write(frame(offer=offer()))
        waiting.append(endless(call, silent[:2]))
    await asyncio.gather(endless(running, silent), *waiting)


async def deaf(attack: Attack) -> None:
    """A lambda that takes a partition, never reads its records, and pauses and resumes without end."""
    running, _ = await attack.partition("second")
    attack.begun()
    number = itertools.count(1)
    while attack.goes_on():
        await running.write(frame(pause=pb.Pause(number=next(number))))
        await running.write(frame(resume=pb.Resume()))
        attack.statuses["PAUSED"] += 1
        await asyncio.sleep(0.01)


async def checkpoints(attack: Attack) -> None:
    """Checkpoints with 10,000 random leases in a call, negative offsets, and offsets that were never delivered."""
    running, lease = await attack.partition("second")
    entry = pb.CheckpointEntry
    large = [entry(lease=uuid.uuid4().hex[:24], offset=1) for _ in range(10_000)]
    requests = [
        large,
        [*large[:-1], entry(lease=lease, offset=1 << 40)],
        [entry(lease=lease, offset=-1)],
        [entry(lease=lease, offset=1 << 40)] * 10_000,
        [*large, *large],
        [entry(lease=lease, offset=1 << 40)],
    ]
    rounds = itertools.cycle([pb.CheckpointRequest(entries=entries).SerializeToString() for entries in requests])

    async def one() -> None:
        answer = await attack.call("Checkpoint", next(rounds))
        if answer is not None:
            for result in pb.CheckpointResponse.FromString(answer).results[-1:]:
                attack.statuses[pb.CheckpointOutcome.Name(result.outcome)] += 1

    await attack.many(one, first=len(requests))
    running.cancel()


async def errors(attack: Attack) -> None:
    """Endless errors: reports of a living lease with texts as long as is allowed, and errors of dead leases."""
    running, lease = await attack.partition("second")
    report = pb.ErrorRequest(
        lease=lease, action=pb.ERROR_ACTION_REPORT, code="c" * 128, message="m" * 8192, stack="ß" * 16_384
    )
    requests = [
        report,
        pb.ErrorRequest(lease=lease, action=pb.ERROR_ACTION_REPORT),
        pb.ErrorRequest(lease="nobody's", action=pb.ERROR_ACTION_CRITICAL, stack="s" * 100_000),
        pb.ErrorRequest(lease=lease),
    ]
    rounds = itertools.cycle([request.SerializeToString() for request in requests])
    await attack.many(lambda: attack.call("Error", next(rounds)), first=len(requests))
    running.cancel()


async def huge(attack: Attack) -> None:
    """Messages of 16 MiB, and of the largest size that the sidecar accepts."""
    most = 1024 * 1024 - 1024
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: attack.call("Error", bytes(16 * 1024 * 1024)),
        lambda: attack.call(
            "Error", pb.ErrorRequest(lease="l" * most, action=pb.ERROR_ACTION_RESTART).SerializeToString()
        ),
        lambda: attack.stream_of(frame(offer=offer(instance="i" * most))),
        lambda: attack.stream_of(bytes(16 * 1024 * 1024)),
        lambda: attack.call(
            "Checkpoint", pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="l" * most)]).SerializeToString()
        ),
    ]
    rounds = itertools.cycle(calls)

    async def one() -> None:
        await next(rounds)()

    await attack.many(one, 16, first=len(calls))


async def silent(attack: Attack) -> None:
    """Hold 2,000 streams that never offer, on 40 connections; another is opened for each that ends."""
    await _held_open(attack, 50, lambda channel: channel.stream_stream(HOST + "Serve")())


async def withheld(attack: Attack) -> None:
    """Hold 2,000 calls whose message never comes, of all methods, also those that need no token."""
    methods = itertools.cycle(
        [*(HOST + name for name in ("Checkpoint", "Error", "Produce")), STATUS, "/grpc.health.v1.Health/Check"]
    )
    await _held_open(attack, 50, lambda channel: channel.stream_unary(next(methods))())


async def watches(attack: Attack) -> None:
    """Hold 2,000 watches of the health service, which need no token and never end by themselves."""

    def watch(channel: grpc.aio.Channel) -> Any:
        watched: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        return watched(b"")

    await _held_open(attack, 50, watch)


async def idle(attack: Attack) -> None:
    """Hold 3,000 connections without a call; half of them never send a byte."""
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty SETTINGS
    host, _, port = attack.address.rpartition(":")
    held = []
    for number in range(3_000):
        _, writer = held_one = await asyncio.open_connection(host, int(port))
        held.append(held_one)
        if number % 2:
            writer.write(hello)
        attack.statuses["HELD"] += 1
    attack.begun()
    await attack.over()


async def offers(attack: Attack) -> None:
    """Hold 400 streams, each after an Offer of 1 MiB and a frame of 1 MiB in a field that nobody knows."""
    most = 1024 * 1024 - 4096
    unknown = b"\xfa\x7f" + _varint(most) + bytes(most)  # field 2047
    capabilities = ["c" * 1000] * 1000
    kinds: Iterator[Callable[[], bytes]] = itertools.cycle(
        [
            lambda: frame(offer=pb.Offer.FromString(offer().SerializeToString() + unknown)),
            lambda: frame(offer=offer(capabilities=capabilities)),
        ]
    )
    held: list[Any] = []

    async def one(channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(HOST + "Serve")()
        try:
            await call.write(next(kinds)())
            await call.read()
            await call.write(unknown)
            held.append(call)
            attack.statuses["HELD"] += 1
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await attack.ended(call)

    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(dial(attack.address)) for _ in range(10)]
        for _ in range(40):
            await asyncio.gather(*(one(channel) for channel in channels))
        attack.begun()
        await attack.over()


async def _held_open(attack: Attack, each: int, opened: Callable[[grpc.aio.Channel], Any]) -> None:
    """Hold ``each`` calls on each of 40 connections; another is opened for each that ends."""

    async def again(channel: grpc.aio.Channel) -> None:
        while attack.goes_on():
            await attack.ended(opened(channel))
            attack.begun()  # the sidecar ended one: all slots are taken

    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(dial(attack.address)) for _ in range(40)]
        await asyncio.gather(*(again(channel) for channel in channels for _ in range(each)))


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


ATTACKS: dict[str, Callable[[Attack], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        *(noise, strangers, spares, come_and_go, flood, deaf, checkpoints, errors, huge),
        *(silent, withheld, watches, idle, offers),
    )
}


TAKE_SLOTS = frozenset({"silent", "withheld", "watches", "idle", "offers"})
"""Attacks that hold what is limited. They have begun when they hold all that they can get."""


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with a connection of its own."""
    async with grpc.aio.insecure_channel(address.replace("unix://", "unix:"), options=_OPTIONS) as channel:
        yield channel


async def main(kind: str, address: str, seconds: float) -> None:
    """Attack, and print the results."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(dial(address)) for _ in range(CONNECTIONS)]
        with suppress(TimeoutError):  # calls that are still under way at the end are abandoned
            async with asyncio.timeout(None) as limit:
                attack = Attack(address, seconds, channels, limit)
                await ATTACKS[kind](attack)
        print(json.dumps({"event": "report", "statuses": attack.statuses, "texts": [*attack.texts]}), flush=True)
        os._exit(0)  # a hostile client closes nothing


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
