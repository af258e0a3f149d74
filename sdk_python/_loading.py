"""Finds the plugin in a module."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from ._errors import PluginError, message_of, type_of
from ._fitting import checked_plugin
from ._function import FunctionPlugin
from ._interfaces import IPlugin
from ._leaving import EXITS

VERSION_VARIABLE: Final = "KAFKA_SIDECAR_LAMBDA_VERSION"

HOW = (
    "a plugin module has `plugin = ...`, or `async def create(config)`, "
    "or exactly one function with @partition_lambda, or exactly one class with `async def create(self, config)`"
)


def load_plugin(name: str) -> IPlugin:
    """Load the plugin of a module (``examples.deli``) or of a file (``examples/deli.py``).

    It is the first of these: the module's ``plugin`` attribute; the module itself if it has ``create(config)``, as in
    Fluid Framework's kafka-service; the one decorated function, plugin class or instance of such a class that the
    module defines. A class is instantiated without arguments.

    Raises ``PluginError`` when there is no such module, when it fails to import (the exception is the cause), or when
    it has no plugin or several.
    """
    module = load_module(name)
    return find_plugin(module)


def find_plugin(module: ModuleType) -> IPlugin:
    """Find the plugin of an imported module by the rules of `load_plugin`.

    Raises ``PluginError`` when it has no plugin or several.
    """
    name = module.__name__
    if hasattr(module, "plugin"):
        return as_plugin(module.plugin, f"{name}.plugin")
    if callable(getattr(module, "create", None)):
        return checked_plugin(module, f"module {name}")
    found = {key: value for key, value in vars(module).items() if _is_candidate(value, name)}
    instances = {key: value for key, value in found.items() if not inspect.isclass(value)}
    # If the module has an instance of a class that it defines, that instance is the plugin, and not the class too.
    kinds = {type(value) for value in instances.values()}
    found = {key: value for key, value in found.items() if value not in kinds}
    distinct = {id(value): key for key, value in found.items()}
    if not distinct:
        raise PluginError(f"module {name} exports no plugin: {HOW}")
    if len(distinct) > 1:
        names = ", ".join(sorted(distinct.values()))
        raise PluginError(f"module {name} holds several plugins ({names}): say which with `plugin = ...`")
    (key,) = distinct.values()
    return as_plugin(found[key], f"{name}.{key}")


def as_plugin(value: Any, where: str) -> IPlugin:
    """Return ``value`` as a plugin: a class is instantiated, a bare function is decorated.

    Raises ``PluginError`` when it has no ``create``, or when the class cannot be instantiated without arguments.
    """
    if inspect.isclass(value):
        try:
            value = value()
        except EXITS:
            raise
        except BaseException as error:
            raise PluginError(f"{where} cannot be made without arguments: {_text(error)}") from error
    if inspect.isfunction(value) or inspect.iscoroutine(value) or inspect.isasyncgen(value):
        try:
            return FunctionPlugin(cast("Any", value))
        except TypeError as error:
            raise PluginError(f"{where}: {error}") from error
    if not callable(getattr(value, "create", None)):
        raise PluginError(f"{where} is no plugin, it has no `create(config)`: {HOW}")
    return checked_plugin(value, where)


def version_of(plugin: IPlugin, environ: Mapping[str, str]) -> str:
    """Return the version of the lambda's code, for operators and dead letters; empty: unknown.

    It is ``$KAFKA_SIDECAR_LAMBDA_VERSION``, since the deployment knows best what it deployed, such as a commit; or
    else the plugin's ``version``, or else ``__version__`` of its module. A value that is not a text is ignored.
    """
    module = plugin if inspect.ismodule(plugin) else sys.modules.get(getattr(plugin, "__module__", ""))
    named = (
        environ.get(VERSION_VARIABLE),
        getattr(plugin, "version", None),
        getattr(module, "__version__", None),
    )
    return next((version for version in named if version and isinstance(version, str)), "")


def _is_candidate(value: object, module: str) -> bool:
    if isinstance(value, FunctionPlugin):
        return value.__module__ == module
    kind = value if inspect.isclass(value) else type(value)
    if kind.__module__ != module or getattr(kind, "_is_protocol", False):
        return False
    create = getattr(kind, "create", None)
    if not inspect.isfunction(create):
        return False
    try:  # create(self, config) is a plugin's, create(self, config, context) a factory's
        inspect.signature(create).bind(None, None)
    except TypeError:
        return False
    return True


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name or by its file. Raises ``PluginError`` when that fails."""
    return _from_file(Path(name)) if name.endswith(".py") else _from_name(name)


def _from_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # If the module itself or a package above it is missing. Otherwise an import inside the module failed.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise PluginError(
                f"there is no module {name!r} (no {error.name!r} in {Path.cwd()} or on the Python path)"
            ) from None
        raise PluginError(f"module {name} cannot be imported: {error}") from error
    except EXITS:
        raise  # its code asks for the end of the process
    except BaseException as error:
        raise PluginError(f"module {name} cannot be imported: {_text(error)}") from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise PluginError(f"there is no file {path} (in {Path.cwd()})")
    name = path.stem if path.stem not in sys.modules else f"kafka_sidecar_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # as `python FILE` does, so that it can import the modules beside it
        sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, EXITS):
            raise  # its code asks for the end of the process
        raise PluginError(f"{path} cannot be imported: {_text(error)}") from error
    return module


def _text(error: BaseException) -> str:
    return f"{type_of(error)}: {message_of(error)}"
