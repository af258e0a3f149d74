"""The embedded broker for synchronous tests."""

from __future__ import annotations

import asyncio
from types import TracebackType

from sidecar.embedded import EmbeddedBroker


class TansuServer(EmbeddedBroker):
    """`with TansuServer() as server: ... server.address`. Not for use inside a running event loop."""

    def __enter__(self) -> TansuServer:
        asyncio.run(self.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run(self.stop())
