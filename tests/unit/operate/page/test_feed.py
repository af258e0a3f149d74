"""One look for all who watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from sidecar.mail.boxes import GoneError
from sidecar.operate.page import feed as module
from sidecar.operate.page.feed import Event, Feed, Source
from sidecar.operate.page.history import INTERVAL_S
from sidecar.operate.page.refusal import Refusal
from sidecar.server.status_message import status_response
from sidecar.status import SidecarStatus
from tests.unit.snapshots import lambda_status, sidecar_status
from tests.unit.waiting import until


class Asked:
    """The sidecar, as the feed asks it."""

    def __init__(self) -> None:
        self.looks = 0
        self.error: Exception | None = None
        source = Source(self._ask, status_response, lambda _: [{"cause": "halted"}])
        self.feed = Feed(source, lambda: {"actions": {"possible": True}})

    async def _ask(self) -> SidecarStatus:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return sidecar_status({"deli": lambda_status()}, version=str(self.looks))


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    one = Asked()
    running = asyncio.create_task(one.feed.run())
    yield one
    await one.feed.close()
    await running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at every turn."""
    monkeypatch.setattr(module, "SHORTEST_S", 0.001)
    monkeypatch.setattr(module, "_FRESH_S", 0.0)


async def read(events: AsyncIterator[Event], name: str) -> Any:
    """The next event of this name."""
    async for one, body in events:
        if one == name:
            return json.loads(body)
    raise AssertionError("the events have ended")


async def test_a_watcher_hears_the_state_and_the_history_at_once(asked: Asked) -> None:
    async with aclosing(asked.feed.events()) as events:
        state = await read(events, "status")
        assert [one["name"] for one in state["status"]["lambdas"]] == ["deli"]
        assert state["findings"] == [{"cause": "halted"}]
        assert state["actions"] == {"possible": True}
        assert state["now_ms"] > 0
        history = await read(events, "history")
        assert [*history["lambdas"]] == ["deli"]


async def test_many_watchers_and_requests_share_one_look(asked: Asked) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(asked.feed.latest())

        async def watch() -> None:
            async with aclosing(asked.feed.events()) as events:
                await read(events, "status")

        for _ in range(10):
            group.create_task(watch())
    assert asked.looks <= 2


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of the history at every look."""
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)


async def test_nobody_watches_so_nothing_is_made(quick: None, sampled: None, asked: Asked) -> None:
    await until(lambda: asked.looks > 3, "looks for the history")
    assert asked.feed._latest == {}
    async with aclosing(asked.feed.events()) as events:
        await read(events, "status")
        assert len((await read(events, "history"))["lambdas"]["deli"]) > 3, "it was kept meanwhile"


async def test_a_slow_watcher_misses_what_was_in_between(quick: None, asked: Asked) -> None:
    async with aclosing(asked.feed.events()) as events:
        first = await read(events, "status")
        before = asked.looks
        await until(lambda: asked.looks > before + 5)
        second = await read(events, "status")
    assert int(second["status"]["version"]) > int(first["status"]["version"]) + 4


async def test_an_end_in_the_middle_of_a_look_is_not_forgotten(asked: Asked) -> None:
    """1. A look is under way. 2. `close` is called. 3. The look ends: no further one is waited for."""
    gate, begun = asyncio.Event(), asyncio.Event()
    answer = asked.feed._source.snapshot

    async def slow() -> SidecarStatus:
        begun.set()
        await gate.wait()
        return await answer()

    feed = Feed(replace(asked.feed._source, snapshot=slow), dict)
    running = asyncio.create_task(feed.run())
    await begun.wait()
    await feed.close()
    gate.set()
    async with asyncio.timeout(INTERVAL_S / 2):
        await running


@pytest.mark.parametrize("error", [GoneError("the sidecar is stopping"), TimeoutError()])
async def test_a_sidecar_that_does_not_answer(quick: None, asked: Asked, error: Exception) -> None:
    async with aclosing(asked.feed.events()) as events:
        await read(events, "status")
        asked.error = error
        silent = await read(events, "silent")
        assert silent == {"error": str(error) or "a consumer thread did not answer within 5 s"}
        with pytest.raises(Refusal, match=silent["error"]):
            await asked.feed.latest()
        asked.error = None
        await read(events, "status")
        assert json.loads(await asked.feed.latest())["findings"] == [{"cause": "halted"}]


async def test_watchers_are_bounded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WATCHERS", 1)
    asked.feed.check_room()
    async with aclosing(asked.feed.events()) as events:
        await read(events, "status")
        with pytest.raises(Refusal, match="1 pages of this sidecar are open already"):
            asked.feed.check_room()
    asked.feed.check_room()


async def test_closing_ends_all_events(asked: Asked) -> None:
    heard: set[int] = set()

    async def watch(number: int) -> None:
        async for _ in asked.feed.events():
            heard.add(number)

    watching = [asyncio.create_task(watch(number)) for number in range(3)]
    await until(lambda: len(heard) == 3)
    await asked.feed.close()
    await asyncio.gather(*watching)
    assert asked.feed._watchers == 0


async def test_looks_are_rarer_when_they_cost_much(asked: Asked) -> None:
    async with aclosing(asked.feed.events()) as events:
        assert (await read(events, "status"))["next_ms"] == 1_000
        asked.feed._took = 0.5
        assert asked.feed._interval() == 5.0


async def test_an_answer_is_fresh_though_nobody_was_told_of_the_last_look(quick: None, asked: Asked) -> None:
    first = json.loads(await asked.feed.latest())
    before = asked.looks
    await asked.feed._look(False)
    second = json.loads(await asked.feed.latest())
    assert int(second["status"]["version"]) > before >= int(first["status"]["version"])
