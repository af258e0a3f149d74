"""Connections: how many, how they break, and how a client comes back."""

from __future__ import annotations

from itertools import pairwise

import grpc

from sidecar.conformance.case import case
from sidecar.conformance.events import Kind
from sidecar.conformance.stage import Stage


@case("calls-have-their-own", 43, "Calls go over another connection than streams.", do="copy=out checkpoint=1")
async def calls_have_their_own(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)  # the invariants compare connections


@case(
    "all-streams-break",
    45,
    "All connections break: the process offers again at once, and works on.",
    do="checkpoint=1",
)
async def all_streams_break(stage: Stage) -> None:
    for partition in range(3):
        stream = await stage.running(partition)
        await stream.records(0)
        await stage.checkpointed(stream, 0)
    await stage.spare()
    began = stage.trace.now
    stage.front.cut()
    stream = await stage.running(0, 1)
    stage.check(stage.trace.now - began < 5, f"a new stream came after {stage.trace.now - began:.1f} s")
    await stream.records(1)
    await stage.checkpointed(stream, 1)


@case("one-stream-breaks", 9, "One stream breaks: the others and the spare stay.", do="checkpoint=1")
async def one_stream_breaks(stage: Stage) -> None:
    first, second = await stage.running(0), await stage.running(1)
    spare = await stage.spare()
    first.end(grpc.StatusCode.UNAVAILABLE)
    await second.records(0)
    await stage.checkpointed(second, 0)
    await stage.never(lambda: second.life.over or spare.life.over, "another stream has ended with the broken one")


@case("calls-break", 19, "The connection of the calls breaks: checkpoints come over a new one.", do="checkpoint=1")
async def calls_break(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    called = stage.last(Kind.CALL)
    assert called is not None
    stage.front.cut(called.connection)
    await stream.records(1)
    await stage.checkpointed(stream, 1)
    stage.check(not stream.life.over, "the stream ended with the connection of the calls", 9)


@case("sidecar-restarts", 45, "The sidecar is away for some seconds: it is found within 2 s when it is back.",
      do="checkpoint=1")  # fmt: skip
async def sidecar_restarts(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    count = len(stage.streams)
    stage.front.refuse()
    stage.front.cut()
    await stage.trace.until(lambda: False, 6.0)
    await stage.front.listen()
    began = stage.trace.now
    await stage.until(lambda: len(stage.streams) > count, "an Offer to the sidecar that is back")
    took = stage.trace.now - began
    stage.check(took < 4.0, f"the sidecar that is back was found after {took:.1f} s")
    again = await stage.running(0, 1)
    await again.records(1)
    await stage.checkpointed(again, 1)


@case("backs-off", 45, "Streams that end at once with UNAVAILABLE: the pauses grow to 2 s, with jitter.")
async def backs_off(stage: Stage) -> None:
    await stage.spare()
    stage.host.refusal = (grpc.StatusCode.UNAVAILABLE, "the sidecar stops")
    stage.streams[0].end(grpc.StatusCode.UNAVAILABLE, "the sidecar stops")
    await stage.until(lambda: len(stage.streams) >= 8, "seven more offers", timeout=25)
    times = [event.at for event in stage.trace.of(Kind.OPENED)]
    pauses = [later - earlier for earlier, later in pairwise(times[1:])]
    stage.check(sum(pauses) > 1.5, f"seven offers came within {sum(pauses):.1f} s: nothing grows")
    stage.check(max(pauses) < 4.0, f"{max(pauses):.1f} s passed between two offers; 2 s is the most")
    stage.host.refusal = None
    await stage.spare(5.0)


@case("backs-off-when-full", 45, "RESOURCE_EXHAUSTED: as after a broken stream.")
async def backs_off_when_full(stage: Stage) -> None:
    await stage.spare()
    stage.host.refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams wait")
    stage.streams[0].end(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams wait")
    await stage.until(lambda: len(stage.streams) >= 4, "three more offers", timeout=15)
    stage.host.refusal = None
    await stage.spare(5.0)


@case("hung-sidecar", 44, "The sidecar stands still: the process notices it within some 15 s, and dials again.",
      do="checkpoint=1", time_limit=60)  # fmt: skip
async def hung_sidecar(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    dialled = sum(1 for _ in stage.trace.of(Kind.CONNECTED))
    stage.front.freeze()
    began = stage.trace.now
    await stage.until(
        lambda: sum(1 for _ in stage.trace.of(Kind.CONNECTED)) > dialled, "a new connection", timeout=25
    )
    took = stage.trace.now - began
    stage.check(took < 17, f"a sidecar that hangs was noticed after {took:.1f} s")
    count = len(stage.streams)
    stage.front.thaw()
    await stage.until(lambda: len(stage.streams) > count and stage.streams[-1].life.available, "a new stream")
    again = await stage.running(0, 1)
    await again.records(1)
    await stage.checkpointed(again, 1)


@case("quiet-for-long", 44, "Ten quiet seconds: pings come, and not too often.", do="checkpoint=1", time_limit=40)
async def quiet_for_long(stage: Stage) -> None:
    stream = await stage.running()
    await stage.trace.until(lambda: stream.life.over, 10)
    stage.check(not stream.life.over, "the stream ended while nothing happened")
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("no-proxy", 47, "A proxy in the environment is meant for other calls.",
      environment={"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "grpc_proxy":
                   "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9",
                   "no_proxy": "", "NO_PROXY": ""})  # fmt: skip
async def no_proxy(stage: Stage) -> None:
    await stage.spare(rule=47)


@case("unix-socket", 47, "A Unix socket is dialled as unix:///path.", do="copy=out checkpoint=1", unix=True)
async def unix_socket(stage: Stage) -> None:
    await stage.spare(rule=47)
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("starts-before-sidecar", 45, "The process starts first: it waits for the sidecar.", starts=False)
async def starts_before_sidecar(stage: Stage) -> None:
    stage.front.refuse()
    await stage.program.start()
    await stage.trace.until(lambda: not stage.program.running, 3.0)
    stage.check(stage.program.running, "the process ended since no sidecar listened yet")
    await stage.front.listen()
    await stage.spare()
