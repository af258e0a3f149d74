"""Checks that a lambda's code fits the interfaces, before it does nothing or fails at its first message.

Each refusal says what was found and what to write.
"""

import inspect
from functools import lru_cache, partial
from types import CodeType
from typing import Any, cast

from ._errors import PluginError
from ._handling import METHODS
from ._interfaces import AnyLambda, IPartitionLambdaFactory, IPlugin

_CREATE = "async def create(self, config)"
_FACTORY_CREATE = "async def create(self, config, context)"
_DISPOSE = "async def dispose(self)"
_HANDLERS = {
    "handler": "def handler(self, message)` or `async def handler(self, message)",
    "handle_batch": "def handle_batch(self, messages)` or `async def handle_batch(self, messages)",
    "handle_columns": "def handle_columns(self, columns)` or `async def handle_columns(self, columns)",
}
_CLOSE = "def close(self, reason)"


def misfit(function: Any, arguments: int, write: str) -> str:
    """Return what is wrong with a function that is called with so many arguments; empty: nothing.

    ``write``: how to write it instead.
    """
    inner = _unwrapped(function)
    code = getattr(inner, "__code__", None)
    if isinstance(code, CodeType):
        if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR) and not _is_coroutine_like(code):
            kind = "an async generator" if code.co_flags & inspect.CO_ASYNC_GENERATOR else "a generator"
            return f"is {kind}, since it has a `yield`: calling it runs nothing; write `{write}` without `yield`"
        if inner is function or getattr(function, "__func__", None) is inner:
            bound = arguments + (function is not inner)
            return _counted(inner, code, bound, arguments, write)
    return _bind(function, arguments, arguments, write)


def checked_plugin(value: Any, where: str) -> IPlugin:
    """Return ``value``. Raises ``PluginError`` when it is no `IPlugin`."""
    _require(value, where, "create", 1, _CREATE)
    return cast("IPlugin", value)


def check_guarantee(plugin: IPlugin, *, exactly_once: bool) -> None:
    """Raise ``PluginError`` when the lambda is to be exactly-once, and the plugin says that it cannot."""
    why = getattr(plugin, "not_exactly_once", "")
    if exactly_once and why:
        raise PluginError(f"guarantee exactly-once: {why}")


def checked_factory(value: Any) -> IPartitionLambdaFactory:
    """Return what ``plugin.create`` returned. Raises ``PluginError`` when it is no `IPartitionLambdaFactory`."""
    where = "what plugin.create returned"
    _refuse_unmade(value, where, "IPartitionLambdaFactory")
    _require(value, where, "create", 2, _FACTORY_CREATE)
    _require(value, where, "dispose", 0, _DISPOSE)
    return cast("IPartitionLambdaFactory", value)


def checked_lambda(value: Any) -> AnyLambda:
    """Return what ``factory.create`` returned. Raises ``PluginError`` when it is none."""
    where = "what factory.create returned"
    _refuse_unmade(value, where, "IPartitionLambda")
    methods = [name for name in METHODS if getattr(value, name, None) is not None]
    if len(methods) > 1:
        raise PluginError(f"{where}, {value!r}, has {' and '.join(methods)}: keep the one that is to be called")
    name = methods[0] if methods else METHODS[0]
    _require(value, where, name, 1, _HANDLERS[name])
    if getattr(value, "close", None) is not None:
        _require(value, where, "close", 1, _CLOSE)
    return cast("AnyLambda", value)


def _refuse_unmade(value: Any, where: str, wanted: str) -> None:
    if inspect.isclass(value):
        name = value.__qualname__
        raise PluginError(f"{where} is the class {name}, not an instance of it: write `return {name}(...)`")
    if inspect.iscoroutine(value) or inspect.isasyncgen(value) or inspect.isgenerator(value):
        name = value.__qualname__
        if inspect.iscoroutine(value):
            value.close()  # Python would warn that it was never awaited
        raise PluginError(f"{where} is {_kind(value)} of {name}, no {wanted}: await it before it is returned")


def _require(value: Any, where: str, name: str, arguments: int, write: str) -> None:
    method = getattr(value, name, None)
    if not callable(method):
        raise PluginError(f"{where}, {value!r}, has no {name}: write `{write}`")
    wrong = misfit(method, arguments, write)
    if wrong:
        raise PluginError(f"{where}: {name} {wrong}")


def _kind(value: object) -> str:
    return "a coroutine" if inspect.iscoroutine(value) else "a generator"


def _unwrapped(function: Any) -> Any:
    """Find the plain function that runs in the end, through partials, methods and callable objects."""
    for _ in range(20):
        if isinstance(function, partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isfunction(function) or inspect.isclass(function) or inspect.isbuiltin(function):
            break
        elif inspect.ismethod(call := getattr(function, "__call__", None)):  # noqa: B004  looks what it is, not whether it is there
            function = call
        else:
            break
    return function


def _is_coroutine_like(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)  # `types.coroutine`: it can be awaited


def _counted(inner: Any, code: CodeType, bound: int, arguments: int, write: str) -> str:
    """Check a plain function. The answer for its code is kept: a router makes a lambda for each of many documents."""
    defaults = len(inner.__defaults__ or ()), len(inner.__kwdefaults__ or ())
    return "" if _takes(code, bound, defaults) else _bind(inner, bound, arguments, write)


@lru_cache(maxsize=1000)
def _takes(code: CodeType, count: int, defaults: tuple[int, int]) -> bool:
    positional, keywords = defaults
    if code.co_kwonlyargcount > keywords or count < code.co_argcount - positional:
        return False
    return count <= code.co_argcount or bool(code.co_flags & inspect.CO_VARARGS)


def _bind(function: Any, count: int, arguments: int, write: str) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # something built in, which does not say its parameters
        return ""
    try:
        signature.bind(*range(count))
    except TypeError:
        given = "no arguments" if not arguments else f"{arguments} argument{'s' if arguments > 1 else ''}"
        return f"takes {signature}, and is called with {given}: write `{write}`"
    return ""
