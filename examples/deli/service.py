"""deli as a document lambda: ``plugin: sdk_python.document_router``, ``document_lambda: examples.deli.service``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from examples.deli.runner import Deli
from examples.deli.settings import Settings
from examples.deli.store import Store
from sdk_python import IContext
from sdk_python.document_router import IDocumentContext

__version__ = "1"


class Factory:
    """Creates a `Deli` for each document."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = replace(settings.sequencer, signals=settings.topics.signals is not None)
        self._store = Store(settings.topics, settings.kafka)

    async def create(self, _: Mapping[str, Any], context: IContext) -> Deli:
        """See `IPartitionLambdaFactory.create`."""
        states = await self._store.states(context)
        return Deli(cast("IDocumentContext", context), self._config, self._settings.topics, states)

    async def dispose(self) -> None:
        """See `IPartitionLambdaFactory.dispose`."""
        self._store.stop()


async def create(config: Mapping[str, Any]) -> Factory:
    """The plugin is this module. Raises `SettingsError` when a setting is wrong."""
    return Factory(Settings.of(config))
