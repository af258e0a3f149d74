"""One partition's life after another of the same partition, and the time that each has to end."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sdk_python._awaiting import Deadline
from sdk_python._counters import Counters
from sdk_python._ending import Revoked
from sdk_python._handler_times import HandlerTimes
from sdk_python._host import Host
from sdk_python._life import Life
from sdk_python._limits import Limits, Terms
from sdk_python._loop_budget import LoopBudget
from sdk_python._reporting import Failure
from sdk_python.protocol import lambda_pb2 as pb


class Link:
    """A stream on which the sidecar takes the partition back at once."""

    def __init__(self) -> None:
        self.written: list[str | None] = []
        self.closed = asyncio.Event()
        self.frames: asyncio.Queue[pb.HostFrame | None] = asyncio.Queue()
        self.frames.put_nowait(pb.HostFrame(revoked=pb.Revoked(reason=pb.REVOKE_REASON_REBALANCE, deadline_ms=1000)))

    async def read(self) -> pb.HostFrame | None:
        return await self.frames.get()

    async def write(self, frame: pb.LambdaFrame) -> None:
        self.written.append(frame.WhichOneof("frame"))
        if frame.HasField("closed"):
            self.closed.set()

    async def half_close(self) -> None:
        self.frames.put_nowait(None)

    def close(self) -> None:
        pass


def life_on(link: Any, drain_timeout: float = 10.0) -> Life:
    nobody: Any = SimpleNamespace(
        error=None, produce=None, create=None, changed=lambda _: None, forget=lambda _: None
    )
    host = Host(
        "words",
        nobody,
        {},
        nobody,
        nobody,
        LoopBudget(),
        HandlerTimes(),
        Counters(),
        terms=Terms(window=10, limits=Limits(close_timeout=5.0)),
        drain_timeout=drain_timeout,
        leave=lambda _: None,
    )
    return Life(pb.Assigned(lease="lease", topic="t", attempt=1), link, host)


async def test_a_life_that_ends_while_the_one_before_it_closes_is_not_over_before_that() -> None:
    """Otherwise a third life, which waits for the second alone, would begin beside the first."""
    link, closed = Link(), asyncio.Event()
    earlier = asyncio.create_task(closed.wait())
    life = asyncio.create_task(life_on(link).run(after=[earlier]))  # type: ignore[list-item]
    await link.closed.wait()
    done, _ = await asyncio.wait({life}, timeout=0.05)
    assert not done
    closed.set()
    await asyncio.wait_for(life, 5.0)
    assert link.written == ["closed"]


@pytest.mark.parametrize(("drain_timeout", "seconds"), [(2.0, 2.0), (60.0, 5.0)])
async def test_after_an_error_the_sidecar_waits_only_so_long(drain_timeout: float, seconds: float) -> None:
    life = life_on(Link(), drain_timeout)
    failure = Failure(ValueError(), pb.ERROR_ACTION_RESTART, 3, "lambda_error")
    assert life._deadline(failure).left() == pytest.approx(seconds, abs=0.5)
    assert life._deadline(Revoked(pb.REVOKE_REASON_REBALANCE, Deadline(60.0))).left() == pytest.approx(60.0, abs=0.5)
