"""One look at the sidecar for all who watch the page, and the samples of the last minutes.

Each look asks every consumer thread. So there is one a second however many watch, and one every five seconds, for the
history, when nobody does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sdk_python.protocol import admin_pb2 as pb
from sidecar.mail.boxes import GoneError
from sidecar.operate.page.history import INTERVAL_S, History
from sidecar.operate.page.plain import clean, plain
from sidecar.operate.page.refusal import Refusal
from sidecar.status import SidecarStatus

ASK_TIMEOUT_S = 5.0
"""The consumer threads must answer within this time; otherwise the page says that they do not."""

MAX_WATCHERS = 20
"""Open pages at the same time."""

SHORTEST_S = 1.0
"""Seconds from one look to the next while somebody watches."""

_FRESH_S = 0.9 * SHORTEST_S
"""A look that is younger serves everybody who asks."""

SHARE = 10
"""While somebody watches, at most one part in so many of the time goes into looks. With thousands of partitions they
are rarer: their JSON keeps other threads of Python waiting."""

Event = tuple[str, bytes]
"""A name, and JSON."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the state comes from."""

    snapshot: Callable[[], Awaitable[SidecarStatus]]
    """Asks all consumer threads. Raises ``GoneError`` when the sidecar stops."""
    message: Callable[[SidecarStatus], pb.StatusResponse]
    """The admin contract's message of a snapshot."""
    findings: Callable[[pb.StatusResponse], Sequence[dict[str, Any]]]
    """What a person should know about it, for JSON, the most urgent first. These two are called in a thread."""


class Feed:
    """Looks at the sidecar, and tells all watchers. Owned by the event loop."""

    def __init__(self, source: Source, extras: Callable[[], dict[str, Any]]) -> None:
        """``extras``: further members of the document."""
        self._source = source
        self._extras = extras
        self._history = History()
        self._latest: dict[str, tuple[int, bytes]] = {}
        """By an event's name: the number of the look, and the JSON."""
        self._number = 0
        self._took = 0.0
        """Seconds that the last look has cost, without the waiting for the threads."""
        self._sampled = self._looked = self._told = -INTERVAL_S
        """When the last sample was taken, the sidecar was looked at, and the watchers were told."""
        self._has_news = False
        """The history has a sample that was not told yet."""
        self._looking = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._watchers = 0
        self._closed = False

    async def run(self) -> None:
        """Look, until `close`."""
        while not self._closed:
            # First, not after the look: a watcher that comes, or `close`, meanwhile would be forgotten for 5 s.
            self._wanted.clear()
            await self._look(self._watchers > 0)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval()):
                    await self._wanted.wait()

    async def latest(self) -> bytes:
        """The state, as JSON, not older than ``SHORTEST_S``. Raises ``Refusal`` when the threads do not answer."""
        await self._look(True)
        if "silent" in self._latest:
            raise Refusal(503, json.loads(self._latest["silent"][1])["error"])
        return self._latest["status"][1]

    def check_room(self) -> None:
        """Raise ``Refusal`` when as many watch as may."""
        if self._watchers >= MAX_WATCHERS:
            raise Refusal(503, f"{MAX_WATCHERS} pages of this sidecar are open already; close one")

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events of one watcher, until `close`. A slow watcher misses those in between."""
        self._watchers += 1
        self._wanted.set()  # the looks are more frequent from now on
        try:
            await self._look(True)  # the last one may be of the time when somebody watched before
            seen: dict[str, int] = {}
            while not self._closed:
                news = [(name, *made) for name, made in self._latest.items() if made[0] > seen.get(name, 0)]
                for name, number, body in news:
                    seen[name] = number
                    yield name, body
                if not news:
                    async with self._changed:
                        await self._changed.wait_for(lambda: self._closed or self._number > max(seen.values()))
        finally:
            self._watchers -= 1

    async def close(self) -> None:
        """End all watchers' events, and `run`."""
        self._closed = True
        self._wanted.set()
        async with self._changed:
            self._changed.notify_all()

    def _interval(self) -> float:
        if not self._watchers:
            return max(SHORTEST_S, self._sampled + INTERVAL_S - time.monotonic())
        return max(SHORTEST_S, self._took * SHARE)

    async def _look(self, tell: bool) -> None:
        """Look at the sidecar, unless somebody just did, and ``tell`` the watchers."""
        async with self._looking:
            if time.monotonic() - (self._told if tell else self._looked) < _FRESH_S:
                return
            self._looked = time.monotonic()
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    snapshot = await self._source.snapshot()
            except (TimeoutError, GoneError) as error:
                text = str(error) or f"a consumer thread did not answer within {ASK_TIMEOUT_S:g} s"
                await self._publish({"silent": json.dumps({"error": text}).encode()})
                return
            if self._looked - self._sampled >= INTERVAL_S - SHORTEST_S / 2:
                self._sampled = self._looked
                self._history.add(snapshot)
                self._has_news = True
            if tell:
                await self._tell(snapshot)

    async def _tell(self, snapshot: SidecarStatus) -> None:
        self._told = began = time.monotonic()
        made = {"status": await asyncio.to_thread(self._document, snapshot, self._extras())}
        self._took = time.monotonic() - began
        if self._has_news:
            self._has_news = False
            made["history"] = json.dumps(self._history.document(), separators=(",", ":")).encode()
        self._latest.pop("silent", None)
        await self._publish(made)

    def _document(self, snapshot: SidecarStatus, extras: dict[str, Any]) -> bytes:
        """Runs in a thread: streams of records must not wait for thousands of partitions."""
        status = self._source.message(snapshot)
        clean(status)
        document = {
            "now_ms": round((snapshot.taken_at + snapshot.wall_clock) * 1000),
            "next_ms": round(self._interval() * 1000),
            "status": plain(status),
            "findings": [*self._source.findings(status)],
            **extras,
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")

    async def _publish(self, made: dict[str, bytes]) -> None:
        self._number += 1
        self._latest.update({name: (self._number, body) for name, body in made.items()})
        async with self._changed:
            self._changed.notify_all()
