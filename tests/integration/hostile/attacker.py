"""A client that does everything wrong, as fast as it can: `python -m tests.integration.hostile.attacker KIND ...`.

It says `attacking` when it has begun, and at its end how its calls ended, as one JSON line.
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
"""Calls under way, over all connections: enough to keep a core busy."""
MOST_TEXTS = 50

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)


class Attack:
    """One attack: its connections, its end, and what came of it."""

    def __init__(
        self, address: str, seconds: float, channels: list[grpc.aio.Channel], limit: asyncio.Timeout
    ) -> None:
        """``limit`` ends the attack."""
        self.address = address
        self._seconds = seconds
        self._limit = limit
        self._end = math.inf
        self._channels = itertools.cycle(channels)
        self.statuses: Counter[str] = Counter()
        self.texts: dict[str, None] = {}
        """The texts of refusals, each once, in the order of their coming; the first of them."""

    def begun(self) -> None:
        """From now on it lasts as long as it is to last; it may have taken a while to be all there."""
        if self._end == math.inf:
            self._end = monotonic() + self._seconds
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
            print("attacking", flush=True)

    async def over(self) -> None:
        """When the attack is over."""
        await asyncio.sleep(self._end - monotonic())

    def goes_on(self) -> bool:
        return monotonic() < self._end

    async def ended(self, call: Any) -> None:
        """A call was refused: the sidecar's word for it, and not what a write that came too late says."""
        code = await call.code()
        self.statuses[code.name] += 1
        if len(self.texts) < MOST_TEXTS:
            self.texts[await call.details()] = None

    async def call(self, method: str, data: bytes) -> bytes | None:
        """A unary call; None when it is refused."""
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
        return next(self._channels).stream_stream(HOST + "Serve")()

    async def stream_of(self, *frames: bytes) -> None:
        """A stream with these frames, to its end."""
        call = self.stream()
        try:
            for frame in frames:
                await call.write(frame)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.ended(call)
        else:
            self.statuses["OK"] += 1

    async def partition(self, name: str) -> tuple[Any, str]:
        """A stream that has a partition and is ready, and its lease."""
        call = self.stream()
        await call.write(frame(offer=offer(name)))
        await call.write(frame(available=pb.Available()))
        lease = ""
        while not lease:
            lease = pb.HostFrame.FromString(await call.read()).assigned.lease
        await call.write(frame(ready=pb.Ready(lease=lease)))
        return call, lease

    async def many(self, one: Callable[[], Awaitable[object]], at_once: int = AT_ONCE) -> None:
        """``one`` again and again, ``at_once`` beside each other."""

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
    """Random bytes, as frames and as calls."""
    chance = random.Random(7)
    nonsense = b"\x0a\xff\xff\xff\xff"
    sizes = itertools.cycle([1, 20, 300, 5_000])

    async def one() -> None:
        data = chance.randbytes(next(sizes))
        await attack.stream_of(data)
        await attack.stream_of(frame(offer=offer()), nonsense + data)
        await attack.call(chance.choice(["Checkpoint", "Error"]), nonsense + chance.randbytes(100))

    await attack.many(one)


async def strangers(attack: Attack) -> None:
    """Offers for a lambda that is not there, of an old version, without a name; and two on one stream."""
    rounds: Iterator[Callable[[], list[pb.Offer]]] = itertools.cycle(
        [
            lambda: [offer("nobody's")],
            lambda: [offer("echo", protocol_version=0)],
            lambda: [offer("")],
            lambda: [offer("echo", lambda_version="x" * 257)],
            lambda: [offer(), offer()],
        ]
    )
    await attack.many(lambda: attack.stream_of(*[frame(offer=one) for one in next(rounds)()]), 500)


async def spares(attack: Attack) -> None:
    """10,000 streams that wait for a partition, a tenth of them of one process, and are kept."""
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
        # One connection has room for few streams: whoever wants many has many connections.
        channels = [await stack.enter_async_context(dial(attack.address)) for _ in range(40)]
        await attack.many(lambda: one(channels), 800)


async def come_and_go(attack: Attack) -> None:
    """Streams that offer, and are gone when they are welcome."""

    async def one() -> None:
        call = attack.stream()
        await call.write(frame(offer=offer()))
        await call.read()
        call.cancel()
        attack.statuses["CANCELLED"] += 1

    await attack.many(one)


async def flood(attack: Attack) -> None:
    """Frames without end that say nothing, on streams that wait and on one that has a partition."""
    running, _ = await attack.partition("second")
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
    """A lambda that takes a partition and never reads its records; it answers what it should not know."""
    running, _ = await attack.partition("second")
    number = itertools.count(1)
    while attack.goes_on():
        await running.write(frame(pause=pb.Pause(number=next(number))))
        await running.write(frame(resume=pb.Resume()))
        attack.statuses["PAUSED"] += 1
        await asyncio.sleep(0.01)


async def checkpoints(attack: Attack) -> None:
    """10,000 random leases in each call, negative offsets, and offsets that nobody has delivered."""
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

    await attack.many(one)
    running.cancel()


async def errors(attack: Attack) -> None:
    """Errors without end: reports of a lease that lives, with all that fits, and of some that do not."""
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
    await attack.many(lambda: attack.call("Error", next(rounds)))
    running.cancel()


async def huge(attack: Attack) -> None:
    """Messages of 16 MiB, and of as much as is taken."""
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

    await attack.many(one, 16)


async def silent(attack: Attack) -> None:
    """2,000 streams that never offer, over 40 connections, and each that ends makes way for another."""
    await _held_open(attack, 50, lambda channel: channel.stream_stream(HOST + "Serve")())


async def withheld(attack: Attack) -> None:
    """2,000 calls whose message never comes, of each method, those that need no token too."""
    methods = itertools.cycle(
        [*(HOST + name for name in ("Checkpoint", "Error", "Produce")), STATUS, "/grpc.health.v1.Health/Check"]
    )
    await _held_open(attack, 50, lambda channel: channel.stream_unary(next(methods))())


async def watches(attack: Attack) -> None:
    """2,000 calls that watch the health, which needs no token, and never ends."""

    def watch(channel: grpc.aio.Channel) -> Any:
        watched: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        return watched(b"")

    await _held_open(attack, 50, watch)


async def idle(attack: Attack) -> None:
    """3,000 connections without any call, half of them without a byte."""
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
    """400 streams with an Offer of 1 MiB each, and a frame of as much of what nobody knows; then they wait."""
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
    """On each of 40 connections so many calls that say nothing; one that ends makes way for another."""

    async def again(channel: grpc.aio.Channel) -> None:
        while attack.goes_on():
            await attack.ended(opened(channel))
            attack.begun()  # one had to go: all places are taken

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


TAKE_PLACES = frozenset({"silent", "withheld", "watches", "idle", "offers"})
"""Attacks that hold what is limited; they have begun when they hold all that they can get."""


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with a connection of its own."""
    async with grpc.aio.insecure_channel(address.replace("unix://", "unix:"), options=_OPTIONS) as channel:
        yield channel


async def main(kind: str, address: str, seconds: float) -> None:
    """Attack, and tell what came of it."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(dial(address)) for _ in range(CONNECTIONS)]
        with suppress(TimeoutError):  # what is answered late is not waited for
            async with asyncio.timeout(None) as limit:
                attack = Attack(address, seconds, channels, limit)
                if kind not in TAKE_PLACES:
                    attack.begun()
                await ATTACKS[kind](attack)
        print(json.dumps({"event": "report", "statuses": attack.statuses, "texts": [*attack.texts]}), flush=True)
        os._exit(0)  # as a hostile client goes: it closes nothing, and does not wait


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
