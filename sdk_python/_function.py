"""A lambda that is one function."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any, Final, overload

from ._fitting import misfit
from ._handling import Kind
from ._interfaces import AnyLambda, IContext
from ._message import Message, MessageColumns

Result = Awaitable[object] | None
WithContext = Callable[[Message, IContext], Result]
MessageOnly = Callable[[Message], Result]


@overload
def partition_lambda(function: WithContext | MessageOnly, /) -> "FunctionPlugin": ...


@overload
def partition_lambda(
    *, batch: bool = False, columns: bool = False
) -> "Callable[[Callable[..., Result]], FunctionPlugin]": ...


def partition_lambda(
    function: Callable[..., Result] | None = None, /, *, batch: bool = False, columns: bool = False
) -> "FunctionPlugin | Callable[[Callable[..., Result]], FunctionPlugin]":
    """Make a plugin of a function or coroutine function of ``(message, context)``, or of ``(message)`` alone.

    ::

        @partition_lambda
        def handle(message: Message, context: IContext) -> None:
            print(message.value)
            context.checkpoint(message.offset)

    ``@partition_lambda(batch=True)``: the function takes a list of messages instead, as `IBatchLambda` does;
    ``columns=True``: their columns, as `IColumnsLambda` does. The function stays callable, for unit tests.

    Raises ``TypeError`` when it is no function of one or two arguments, or would do nothing: a generator function
    (with `yield`), a class, or the coroutine that calling an async function returns; and for both ``batch`` and
    ``columns``.
    """
    if batch and columns:
        raise TypeError("@partition_lambda(batch, columns): one of them")
    kind = Kind.BATCH if batch else Kind.COLUMNS if columns else Kind.EACH
    return partial(FunctionPlugin, kind=kind) if function is None else FunctionPlugin(function, kind)


class FunctionPlugin:
    """An `IPlugin` and its factory in one: every partition's lambda calls the same function."""

    def __init__(self, function: Callable[..., Result], kind: Kind = Kind.EACH) -> None:
        self._function = function
        self._kind = kind
        self._takes_context = _takes_context(function, _WRITE[kind])
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Result:
        return self._function(*args)

    async def create(self, config: Mapping[str, Any]) -> "_FunctionFactory":  # noqa: ARG002
        return _FunctionFactory(self._function, self._kind, takes_context=self._takes_context)


class _FunctionFactory:
    def __init__(self, function: Callable[..., Result], kind: Kind, *, takes_context: bool) -> None:
        self._function = function
        self._make = _LAMBDAS[kind]
        self._takes_context = takes_context

    async def create(self, config: Mapping[str, Any], context: IContext) -> AnyLambda:  # noqa: ARG002
        function = self._function
        return self._make((lambda messages: function(messages, context)) if self._takes_context else function)

    async def dispose(self) -> None:
        """A function holds nothing."""


# Attributes and not methods: the hot loop calls the function without a Python call of ours in between.


class _FunctionLambda:
    def __init__(self, function: Callable[[Message], Result]) -> None:
        self.handler = function


class _BatchFunctionLambda:
    def __init__(self, function: Callable[[Sequence[Message]], Result]) -> None:
        self.handle_batch = function


class _ColumnsFunctionLambda:
    def __init__(self, function: Callable[[MessageColumns], Result]) -> None:
        self.handle_columns = function


_LAMBDAS: Final[Mapping[Kind, Callable[[Callable[..., Result]], AnyLambda]]] = {
    Kind.EACH: _FunctionLambda,
    Kind.BATCH: _BatchFunctionLambda,
    Kind.COLUMNS: _ColumnsFunctionLambda,
}
_WRITE: Final = {Kind.EACH: "message", Kind.BATCH: "messages", Kind.COLUMNS: "columns"}
"""What the first parameter is called, for messages to the author."""


def _takes_context(function: Callable[..., Result], takes: str) -> bool:
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
    write = f"def handle({takes}, context)` or `async def handle({takes}, context)"
    wrong = [misfit(function, arguments, write) for arguments in (2, 1)]
    if all(wrong):
        if "yield" in wrong[0]:
            raise TypeError(f"@partition_lambda: {name} {wrong[0]}")
        signature = inspect.signature(function)
        raise TypeError(
            f"@partition_lambda: {name}{signature} must take ({takes}, context), or ({takes}) alone: write `{write}`"
        )
    return not wrong[0]
