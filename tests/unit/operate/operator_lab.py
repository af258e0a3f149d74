"""A fake of the Admin service, whose answers the test sets."""

from collections.abc import Callable
from typing import Any

from click.testing import Result

from sdk_python.protocol import admin_pb2_grpc

TARGET = "deli/rawdeltas/3"

Invoke = Callable[..., Result]


class Admin(admin_pb2_grpc.AdminServicer):
    """Keeps its requests, and returns the answers that the test sets."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.tokens: list[str | bytes | None] = []
        self.answer: Any = None
        self.then: dict[type[Any], Any] = {}
        """The answers to some kinds of requests, instead of ``answer``."""
        self.address = ""

    def _any(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        self.tokens.append(dict(context.invocation_metadata()).get("authorization"))
        answer = self.then.get(type(request), self.answer)
        if isinstance(answer, tuple):
            context.abort(*answer)
        return answer

    Status = Resume = Pause = Seek = _any


Serve = Callable[..., Admin]
