"""Lanes: several streams of a process with the same topic and partition."""

from __future__ import annotations

from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.stage import Stage


@case("lanes-beside", 57, "Two lanes of one partition are worked on at the same time.",
      section="lanes", do="take=each:300 checkpoint=1")  # fmt: skip
async def lanes_beside(stage: Stage) -> None:
    first = await stage.running(0, 0, lane=0, lanes=2)
    second = await stage.running(0, 0, lane=1, lanes=2, rule=57)
    await first.records(0, 2)
    await second.records(1, 3)
    await stage.checkpointed(second, 3)
    await stage.checkpointed(first, 2)


@case("lane-is-told", 57, "The lambda can read which lane it has, and of how many.", section="lanes", do="tell=out")
async def lane_is_told(stage: Stage) -> None:
    kinds: list[dict[str, Any]] = [{"lane": 2, "lanes": 8}, {"lane": 0, "lanes": 8}, {"lanes": 1}, {}]
    for count, fields in enumerate(kinds, 1):
        stream = await stage.running(0 if fields.get("lanes") == 8 else count, 0, rule=57, **fields)
        await stream.records(0)
        told = (await stage.told("out", count)).partition(" ")[0]
        right = f"{fields.get('lane', 0)}/{fields.get('lanes', 1)}"
        stage.check(told == right, f"the lambda was told {told!r}, not {right!r}")


@case("lane-fails-alone", 57, "A lane fails: the others of its partition go on.",
      section="lanes", do="fail=0:restart checkpoint=1")  # fmt: skip
async def lane_fails_alone(stage: Stage) -> None:
    lanes = [await stage.running(0, 0, lane=lane, lanes=3, rule=57) for lane in range(3)]
    await lanes[0].records(0)
    await stage.closed(lanes[0], 25)
    for number, stream in enumerate(lanes[1:], 1):
        await stream.records(number, number + 3)
        await stage.checkpointed(stream, number + 3)


@case("lane-breaks-alone", 57, "The stream of a lane breaks: the others of its partition go on.",
      section="lanes", do="checkpoint=1")  # fmt: skip
async def lane_breaks_alone(stage: Stage) -> None:
    lanes = [await stage.running(0, 0, lane=lane, lanes=2, rule=57) for lane in range(2)]
    await stage.spare()
    lanes[0].end(grpc.StatusCode.UNAVAILABLE)
    again = await stage.running(0, 0, lane=0, lanes=2, rule=57)
    await lanes[1].records(1)
    await again.records(0)
    await stage.checkpointed(lanes[1], 1)
    await stage.checkpointed(again, 0)


@case("lane-closes-first", 6, "A lane comes again while it closes: first the old lambda closes; other lanes run.",
      section="lanes", do="close=700 checkpoint=1")  # fmt: skip
async def lane_closes_first(stage: Stage) -> None:
    old = await stage.running(0, 0, lane=0, lanes=2)
    await stage.spare()
    await old.revoke(pb.REVOKE_REASON_LOST, 0)
    again = await stage.assign(0, 0, lane=0, lanes=2)
    other = await stage.running(0, 0, lane=1, lanes=2, rule=57)
    await other.records(1)
    await stage.checkpointed(other, 1)
    await again.expect("ready", 6, 10)
    stage.check(old.life.closed is not None, "Ready of the new lambda before Closed of the old one")
    await again.records(0)
    await stage.checkpointed(again, 0)


@case("lanes-pause-alone", 57, "A lane pauses: the others of its partition go on.",
      section="lanes", do="pause=0:0 checkpoint=1")  # fmt: skip
async def lanes_pause_alone(stage: Stage) -> None:
    first = await stage.running(0, 0, lane=0, lanes=2)
    second = await stage.running(0, 0, lane=1, lanes=2, rule=57)
    await first.records(0)
    await first.expect("pause", 37, 10)
    await second.records(1, 3)
    await stage.checkpointed(second, 3)
    await first.revoke(pb.REVOKE_REASON_HAND_OVER)
    await stage.closed(first, 40)
    await second.records(5)
    await stage.checkpointed(second, 5)
