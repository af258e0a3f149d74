"""A lambda that is one function."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import update_wrapper
from typing import Any, cast

from ._fitting import misfit
from ._interfaces import IContext, IPartitionLambda
from ._message import Message

Result = Awaitable[object] | None
WithContext = Callable[[Message, IContext], Result]
MessageOnly = Callable[[Message], Result]


def partition_lambda(function: WithContext | MessageOnly) -> "FunctionPlugin":
    """Make a plugin of a function or coroutine function of ``(message, context)``, or of ``(message)`` alone.

    ::

        @partition_lambda
        def handle(message: Message, context: IContext) -> None:
            print(message.value)
            context.checkpoint(message.offset)

    The function stays callable, for unit tests.

    Raises ``TypeError`` when it is no function of one or two arguments, or would do nothing: a generator function
    (with `yield`), a class, or the coroutine that calling an async function returns.
    """
    return FunctionPlugin(function)


class FunctionPlugin:
    """An `IPlugin` and its factory in one: every partition's lambda calls the same function."""

    def __init__(self, function: WithContext | MessageOnly) -> None:
        self._function = function
        self._takes_context = _takes_context(function)
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Result:
        return self._function(*args)

    async def create(self, config: Mapping[str, Any]) -> "_FunctionFactory":  # noqa: ARG002
        return _FunctionFactory(self._function, self._takes_context)


class _FunctionFactory:
    def __init__(self, function: WithContext | MessageOnly, takes_context: bool) -> None:
        self._function = function
        self._takes_context = takes_context

    async def create(self, config: Mapping[str, Any], context: IContext) -> IPartitionLambda:  # noqa: ARG002
        if not self._takes_context:
            return _FunctionLambda(cast("MessageOnly", self._function))
        function = cast("WithContext", self._function)
        return _FunctionLambda(lambda message: function(message, context))

    async def dispose(self) -> None:
        """A function holds nothing."""


class _FunctionLambda:
    def __init__(self, handler: MessageOnly) -> None:
        # An attribute and not a method: the hot loop calls the function without a Python call of ours in between.
        self.handler = handler


def _takes_context(function: WithContext | MessageOnly) -> bool:
    given: Any = function
    if inspect.iscoroutine(given) or inspect.isasyncgen(given) or inspect.isgenerator(given):
        name = given.__qualname__
        if inspect.iscoroutine(given):
            given.close()  # Python would warn that it was never awaited
        raise TypeError(f"@partition_lambda goes on a function, and {name} was called already: leave out its ()")
    if inspect.isclass(function):
        raise TypeError(
            f"@partition_lambda goes on a function, not on the class {function.__qualname__}: a plugin class needs "
            "no decorator, it has `async def create(self, config)`"
        )
    if not callable(function):
        raise TypeError(f"@partition_lambda goes on a function, not on {function!r}")
    name = getattr(function, "__qualname__", repr(function))
    write = "def handle(message, context)` or `async def handle(message, context)"
    wrong = [misfit(function, arguments, write) for arguments in (2, 1)]
    if all(wrong):
        if "yield" in wrong[0]:
            raise TypeError(f"@partition_lambda: {name} {wrong[0]}")
        signature = inspect.signature(function)
        raise TypeError(
            f"@partition_lambda: {name}{signature} must take (message, context), or (message) alone: write `{write}`"
        )
    return not wrong[0]
