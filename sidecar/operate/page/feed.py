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
from typing import Any

from sdk_python.protocol import admin_pb2 as pb
from sidecar.mail.boxes import GoneError
from sidecar.operate.page.history import INTERVAL_S, History
from sidecar.operate.page.plain import clean, plain
from sidecar.operate.page.refusal import Refusal

ASK_TIMEOUT_S = 5.0
"""The consumer threads must answer within this time; otherwise the page says that they do not."""

MAX_WATCHERS = 20
"""Open pages at the same time."""

SHORTEST_S = 1.0
"""Seconds from one look to the next while somebody watches."""

_FRESH_S = 0.9 * SHORTEST_S
"""A look that is younger serves everybody who asks."""

PARTITIONS_PER_S = 1_000
"""With more partitions the looks are rarer: a look at ten thousand costs a tenth of a second."""

Event = tuple[str, bytes]
"""A name, and JSON."""


class Feed:
    """Looks at the sidecar, and tells all watchers. Owned by the event loop."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[pb.StatusResponse]],
        findings: Callable[[pb.StatusResponse], Sequence[dict[str, Any]]],
        extras: Callable[[], dict[str, Any]],
    ) -> None:
        """
        Args:
            ask: the state of everything.
            findings: what a person should know about a state, for JSON; called in a thread.
            extras: further members of the document.
        """
        self._ask = ask
        self._findings = findings
        self._extras = extras
        self._history = History()
        self._latest: dict[str, tuple[int, bytes]] = {}
        """By an event's name: the number of the look, and the JSON."""
        self._number = 0
        self._partitions = 0
        self._sampled = self._looked = -INTERVAL_S
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
            await self._look(self._watchers > 0)
            self._wanted.clear()
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
        return max(SHORTEST_S, self._partitions / PARTITIONS_PER_S)

    async def _look(self, tell: bool) -> None:
        """Look at the sidecar, unless somebody just did, and ``tell`` the watchers."""
        async with self._looking:
            if time.monotonic() - self._looked < _FRESH_S and not (tell and "status" not in self._latest):
                return
            self._looked = time.monotonic()
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    status = await self._ask()
            except (TimeoutError, GoneError) as error:
                text = str(error) or f"a consumer thread did not answer within {ASK_TIMEOUT_S:g} s"
                await self._publish({"silent": json.dumps({"error": text}).encode()})
                return
            now_ms = round(time.time() * 1000)
            self._partitions = sum(len(one.partitions) for one in status.lambdas)
            if self._looked - self._sampled >= INTERVAL_S - SHORTEST_S / 2:
                self._sampled = self._looked
                self._history.add(status, now_ms)
                self._has_news = True
            if tell:
                made = {"status": await asyncio.to_thread(self._document, status, self._extras(), now_ms)}
                if self._has_news:
                    self._has_news = False
                    made["history"] = json.dumps(self._history.document(), separators=(",", ":")).encode()
                self._latest.pop("silent", None)
                await self._publish(made)

    def _document(self, status: pb.StatusResponse, extras: dict[str, Any], now_ms: int) -> bytes:
        """Runs in a thread: streams of records must not wait for thousands of partitions."""
        clean(status)
        document = {"now_ms": now_ms, "status": plain(status), "findings": [*self._findings(status)], **extras}
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")

    async def _publish(self, made: dict[str, bytes]) -> None:
        self._number += 1
        self._latest.update({name: (self._number, body) for name, body in made.items()})
        async with self._changed:
            self._changed.notify_all()
