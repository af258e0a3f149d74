"""The calls of one method, which are answered at once by a rule, or one by one by a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from google.protobuf.message import Message

from sidecar.conformance.events import Kind
from sidecar.conformance.trace import Trace

_Answer = tuple[grpc.StatusCode, str, bytes | None]


class Call:
    """One call of the client."""

    def __init__(self, number: int, request: Message, trace: Trace) -> None:
        self.number = number
        self.request = request
        self.answered: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._trace = trace

    @property
    def open(self) -> bool:
        """Whether the client still waits."""
        return not self.answered.done()

    def answer(self, response: Message) -> None:
        """Answer with this message."""
        if self.open:
            self._trace.add(Kind.ANSWERED, call=self.number, message=response)
            self.answered.set_result((grpc.StatusCode.OK, "", response.SerializeToString()))

    def fail(self, status: grpc.StatusCode, text: str = "by the script of the case") -> None:
        """End it with a status."""
        if self.open:
            self._trace.add(Kind.ANSWERED, call=self.number, note=f"{status.name}: {text}")
            self.answered.set_result((status, text, None))


class Desk:
    """The calls of one method in their order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """All that ever came."""
        self.rule: Callable[[Call], None] = lambda _: None
        """Answers a call, as the sidecar does."""
        self.waiting: list[Call] = []
        """Those that a script has to answer."""
        self._by_hand = False

    def came(self, call: Call) -> None:
        """Take a call. It is answered after it is recorded."""
        self.calls.append(call)
        if self._by_hand:
            self.waiting.append(call)
        else:
            asyncio.get_running_loop().call_soon(self.rule, call)

    def by_hand(self) -> None:
        """From now on a script answers."""
        self._by_hand = True

    def by_rule(self) -> None:
        """From now on the rule answers, also all calls that have no answer yet."""
        self._by_hand = False
        self.waiting.clear()
        for call in self.calls:
            if call.open:
                self.rule(call)
