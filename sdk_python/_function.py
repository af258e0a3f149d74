"""A lambda that is one function."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import update_wrapper
from typing import Any, cast

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

    Raises:
        TypeError: it takes neither one nor two positional arguments.
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
        # An attribute, not a method: the hot loop calls the function without a frame of ours between.
        self.handler = handler


def _takes_context(function: WithContext | MessageOnly) -> bool:
    if not callable(function):
        raise TypeError(f"@partition_lambda goes on a function, not on {function!r}")
    signature = inspect.signature(function)
    for arguments in (2, 1):
        try:
            signature.bind(*range(arguments))
        except TypeError:
            continue
        return arguments == 2
    name = getattr(function, "__qualname__", repr(function))
    raise TypeError(f"@partition_lambda: {name}{signature} must take (message, context), or (message) alone")
