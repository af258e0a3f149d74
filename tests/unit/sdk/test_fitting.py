"""What would do nothing is refused before the first message, in words that say what to write."""

from functools import partial
from types import ModuleType
from typing import Any

import pytest

from sdk_python import IContext, Message, PluginError, partition_lambda
from sdk_python._fitting import checked_factory, checked_lambda
from sdk_python._loading import as_plugin, find_plugin
from sdk_python.testing import FakeSidecar


async def async_generator(message: Message, context: IContext) -> Any:
    yield message


def generator(message: Message) -> Any:
    yield message


class WithCall:
    async def __call__(self, message: Message) -> Any:
        yield message


class AClass:
    def __init__(self, message: Message, context: IContext) -> None: ...


async def fine(message: Message) -> None: ...


def of_three(first: Any, second: Any, third: Any) -> None: ...
def of_a_keyword(message: Any, *, other: Any) -> None: ...
def of_one_and_a_default(message: Any, context: Any = None) -> None: ...
def of_any(*arguments: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (async_generator, "async_generator is an async generator, since it has a `yield`"),
        (generator, "generator is a generator, since it has a `yield`"),
        (partial(async_generator), "is an async generator"),
        (WithCall(), "is an async generator"),
        (AClass, "not on the class AClass"),
        (lambda: None, r"must take \(message, context\)"),
        (of_three, r"must take \(message, context\)"),
        (of_a_keyword, r"must take \(message, context\)"),
        ("text", "not on 'text'"),
    ],
)
def test_the_decorator_refuses_what_would_do_nothing(function: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        partition_lambda(function)
    if function is not AClass and function != "text" and type(function) is type(lambda: None):
        with pytest.raises(PluginError, match=text):
            as_plugin(function, "m.plugin")


def test_a_function_that_was_called_already_is_refused() -> None:
    made: list[Any] = [fine(None), async_generator(None, None), generator(None)]  # type: ignore[arg-type]
    for called in made:
        with pytest.raises(TypeError, match="was called already: leave out its"):
            partition_lambda(called)
    with pytest.raises(PluginError, match="was called already"):
        as_plugin(fine(None), "m.plugin")  # type: ignore[arg-type]


@pytest.mark.parametrize("good", [fine, partial(fine), of_one_and_a_default, of_any, print])
def test_functions_that_fit_are_accepted(good: Any) -> None:
    partition_lambda(good)


def test_a_plugin_that_does_not_fit_is_refused() -> None:
    class Two:
        async def create(self, config: Any, context: Any) -> None: ...

    class Yields:
        async def create(self, config: Any) -> Any:
            yield config

    for plugin, text in ((Two, "create takes .*called with 1 argument"), (Yields, "create is an async generator")):
        with pytest.raises(PluginError, match=text):
            as_plugin(plugin, "m.plugin")
        module = ModuleType("m")
        module.create = plugin().create  # type: ignore[attr-defined]
        with pytest.raises(PluginError, match=text):
            find_plugin(module)


class Good:
    async def create(self, config: Any, context: Any) -> Any: ...
    async def dispose(self) -> None: ...
    def handler(self, message: Any) -> None: ...
    def close(self, reason: Any) -> None: ...


def test_a_factory_or_lambda_that_does_not_fit_is_refused() -> None:
    class Bad(Good):
        async def create(self, config: Any) -> Any: ...  # type: ignore[override]
        def handler(self, message: Any, context: Any) -> None: ...  # type: ignore[override]

    class BadEnd(Good):
        async def dispose(self, reason: Any) -> None: ...  # type: ignore[override]
        def close(self) -> None: ...  # type: ignore[override]

    class Yields(Good):
        async def handler(self, message: Any) -> Any:
            yield message

    class Nothing: ...

    good = Good()
    assert checked_factory(good) is good
    assert checked_lambda(good) is good
    for check, value, text in (
        (checked_factory, Good, r"is the class Good, not an instance of it: write `return Good\(...\)`"),
        (checked_lambda, Good, "is the class Good"),
        (checked_factory, Bad(), "create takes .* is called with 2 arguments"),
        (checked_lambda, Bad(), "handler takes .* is called with 1 argument"),
        (checked_factory, BadEnd(), "dispose takes .* is called with no arguments"),
        (checked_lambda, BadEnd(), "close takes .* is called with 1 argument"),
        (checked_lambda, Yields(), "handler is an async generator.*without `yield`"),
        (checked_factory, Nothing(), "has no create: write `async def create"),
        (checked_lambda, None, "has no handler: write `def handler"),
        (checked_lambda, fine(None), "a coroutine of fine"),  # type: ignore[arg-type]
    ):
        with pytest.raises(PluginError, match=text):
            check(value)


@pytest.mark.parametrize("inner", [async_generator, generator])
async def test_a_generator_that_only_shows_when_called_fails_at_its_message(inner: Any) -> None:
    """What a wrapper calls cannot be seen before it is called."""

    def wrapper(message: Message, context: IContext) -> Any:
        return inner(message) if inner is generator else inner(message, context)

    async with FakeSidecar(wrapper) as sidecar:
        await sidecar.feed(b"a")
        (error,) = sidecar.errors
        assert (error.action, error.offset, error.type) == ("critical", 0, "TypeError")
        assert "take `yield` out of it" in error.message
