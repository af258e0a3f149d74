"""Finding a plugin in a module, and saying what is wrong when there is none."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from sdk_python import PluginError, partition_lambda
from sdk_python._loading import load_plugin, version_of

CLASS = """
class Plugin:
    async def create(self, config):
        return None
class Factory:
    async def create(self, config, context):
        return None
    async def dispose(self): ...
"""
FUNCTION = """
from sdk_python import partition_lambda
@partition_lambda
def {name}(message, context): ...
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Load":
    monkeypatch.syspath_prepend(str(tmp_path))
    return Load(tmp_path)


class Load:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, source: str, name: str = "made_for_test") -> object:
        for module in list(sys.modules):
            if module.startswith("made_"):
                del sys.modules[module]
        path = self.folder / f"{name}.py"
        path.write_text(source)
        return load_plugin(str(path))


def test_the_plugin_attribute_comes_first(load: Load) -> None:
    plugin = load(CLASS + FUNCTION.format(name="handle") + "plugin = Plugin()")
    assert type(plugin).__name__ == "Plugin"


def test_a_module_with_create_is_the_plugin(load: Load) -> None:
    plugin = load("async def create(config): ...\n" + CLASS)
    assert getattr(plugin, "__name__", None) == "made_for_test"


def test_the_one_class_is_instantiated_and_a_factory_is_no_plugin(load: Load) -> None:
    assert type(load(CLASS)).__name__ == "Plugin"


def test_an_instance_is_preferred_to_its_class(load: Load) -> None:
    assert type(load(CLASS + "served = Plugin()")).__name__ == "Plugin"


def test_the_one_decorated_function_also_under_a_second_name(load: Load) -> None:
    plugin = load(FUNCTION.format(name="handle") + "alias = handle")
    assert getattr(plugin, "__name__", None) == "handle"


def test_a_module_by_name(load: Load) -> None:
    load(CLASS, "made_by_name")
    assert type(load_plugin("made_by_name")).__name__ == "Plugin"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x = 1", "exports no plugin: a plugin module has"),
        (FUNCTION.format(name="one") + FUNCTION.format(name="two"), r"several plugins \(one, two\)"),
        ("plugin = 5", "made_for_test.plugin is no plugin"),
        ("import no_such_module_here", "cannot be imported"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Plugin:\n  def __init__(self, a): ...\n  async def create(self, config): ...", "without arguments"),
        ("def plugin(): ...", "must take"),
    ],
)
def test_the_error_says_what_is_wrong_with_a_module(load: Load, source: str, text: str) -> None:
    with pytest.raises(PluginError, match=text):
        load(source)


@pytest.mark.parametrize("name", ["no_such_module", "tests.no_such_module", "no_such_file.py"])
def test_a_missing_module_or_file_is_named(name: str) -> None:
    with pytest.raises(PluginError, match=f"there is no (module|file) '?{name}"):
        load_plugin(name)


def test_a_function_with_wrong_parameters_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must take \(message, context\)"):

        @partition_lambda  # type: ignore[arg-type]
        def handle() -> None: ...


def test_a_decorated_function_stays_callable() -> None:
    @partition_lambda
    def handle(message: object) -> None:
        seen.append(message)

    seen: list[object] = []
    handle("m")
    assert seen == ["m"]


def test_the_version_is_the_environments_else_the_plugins_else_the_modules(load: Load) -> None:
    environ = {"KAFKA_SIDECAR_LAMBDA_VERSION": "4f2a"}
    plugin = cast("Any", load(CLASS + "__version__ = '1.2'"))
    assert version_of(plugin, environ) == "4f2a"
    assert version_of(plugin, {"KAFKA_SIDECAR_LAMBDA_VERSION": ""}) == "1.2"
    plugin.version = "3"
    assert version_of(plugin, {}) == "3"
    plugin.version = lambda: "no text"
    assert version_of(plugin, {}) == "1.2"
    function = cast("Any", load(FUNCTION.format(name="handle") + "__version__ = '5'"))
    assert version_of(function, {}) == "5"
    module = cast("Any", load("__version__ = '6'\nasync def create(config): ..."))
    assert version_of(module, {}) == "6"
    assert version_of(cast("Any", load(CLASS)), {}) == ""
