"""The plugin around the router: it finds the document lambda, the key function and the settings."""

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from sdk_python._awaiting import awaited
from sdk_python._errors import PluginError
from sdk_python._interfaces import IContext, IPartitionLambdaFactory, IPlugin
from sdk_python._loading import as_plugin, find_plugin, load_plugin, version_of

from ._keys import KeyFunction, key_function
from ._options import CorruptDocuments, Options, corrupt_documents as checked_word, own_settings, seconds
from ._router import Clock, Router

DOCUMENT_LAMBDA_VARIABLE: Final = "documentLambda"  # as nconf spells it in Fluid Framework's kafka-service

DocumentLambda = IPlugin | type[IPlugin] | ModuleType | Callable[..., Any] | str


def document_router(
    document_lambda: DocumentLambda | None = None,
    *,
    key: str | KeyFunction = "boxcar",
    activity_timeout: float | str = 600.0,
    activity_check_interval: float | str = 60.0,
    drain_timeout: float | str = 1.0,
    corrupt_documents: CorruptDocuments = "fail",
) -> "DocumentRouter":
    """Make a plugin that gives each document of a partition a lambda of its own.

    ::

        plugin = document_router(examples.deli, key="record")

    Args:
        document_lambda: a plugin, its class, its module, a module path or .py file, or a function as for
            `partition_lambda`. None: the one that the setting ``document_lambda`` or the environment variable
            ``documentLambda`` names.
        key: ``boxcar`` (tenant and document of the message), ``record`` (the record's key), ``MODULE:FUNCTION``, or
            the function itself, which returns a document's key, or None for a message without a document.
        activity_timeout: a document that gets no message for so long is closed.
        activity_check_interval: how often the router looks for such documents.
        drain_timeout: how long a running handler may go on when the partition is closed.
        corrupt_documents: what happens at a record that a document's lambda cannot process. ``fail``: the partition
            fails there, and the lambda's ``on_critical`` decides. ``skip``: only its document stops; its skipped
            records are counted and reported.

    The setting ``document_lambda``, and the settings with the other names under ``document_router``, come before the
    arguments. Times are seconds, or texts such as ``10m``.

    Raises:
        PluginError: there is no such lambda or key function.
        SettingsError: a value is no time or none of the words.
    """
    options = Options(
        seconds("activity_timeout", activity_timeout),
        seconds("activity_check_interval", activity_check_interval),
        seconds("drain_timeout", drain_timeout),
        checked_word("corrupt_documents", corrupt_documents),
    )
    inner = None if document_lambda is None else _found(document_lambda)
    return DocumentRouter(inner, key_function(key), options)


class DocumentRouter:
    """The plugin that `document_router` makes."""

    def __init__(self, inner: IPlugin | None, key: KeyFunction, options: Options, clock: Clock | None = None) -> None:
        self._inner = inner
        self._key = key
        self._options = options
        self._clock = clock

    not_exactly_once: Final = (
        "the document router cannot: its documents are at different offsets, and after a restart those that are "
        "ahead would handle messages again whose records are written already. Set `guarantee: at-least-once`, or "
        "take a lambda of the whole partition, with `lanes`"
    )
    """Why this plugin refuses a lambda with that guarantee."""

    @property
    def version(self) -> str:
        """The version of the document lambda; empty while only the settings name it."""
        return "" if self._inner is None else version_of(self._inner, {})

    async def create(self, config: Mapping[str, Any]) -> "RouterFactory":
        """Find the document lambda and make its factory. Raises ``PluginError`` or ``SettingsError``."""
        inner = self._inner
        name = config.get("document_lambda") or (None if inner is not None else _from_environment())
        if name is not None:
            inner = _found(name)
        if inner is None:
            raise PluginError(
                "no document lambda: set `document_lambda` of the lambda in the config, or the environment variable "
                f"{DOCUMENT_LAMBDA_VARIABLE}, to a module or a .py file"
            )
        own = own_settings(config)
        key = key_function(own["key"]) if "key" in own else self._key
        options = self._options.overridden(own)
        factory = await awaited(inner.create(config))
        return RouterFactory(factory, key, options, self._clock)


class RouterFactory:
    """Makes a `Router` for each partition; all of them share the document lambda's factory."""

    def __init__(
        self, factory: IPartitionLambdaFactory, key: KeyFunction, options: Options, clock: Clock | None
    ) -> None:
        self._factory = factory
        self._key = key
        self._options = options
        self._clock = clock

    async def create(self, config: Mapping[str, Any], context: IContext) -> Router:
        """Make the router of one partition."""
        return Router(context, self._factory, config, self._key, self._options, self._clock)

    async def dispose(self) -> None:
        """Dispose the document lambda's factory."""
        await awaited(self._factory.dispose())


def _from_environment() -> str | None:
    return os.environ.get(DOCUMENT_LAMBDA_VARIABLE) or None


def _found(value: DocumentLambda) -> IPlugin:
    if isinstance(value, str):
        inner = load_plugin(value)
    elif isinstance(value, ModuleType):
        inner = find_plugin(value)
    else:
        inner = as_plugin(value, "document_lambda")
    if isinstance(inner, DocumentRouter):
        raise PluginError("document_lambda is the document router itself: name the lambda of one document")
    return inner
