"""The SDK imports the standard library, grpc and protobuf: an image of a lambda has nothing else."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdk_python

SDK = Path(sdk_python.__path__[0])
ALLOWED = sys.stdlib_module_names | {"sdk_python", "grpc", "google"}
MODULES = sorted(path for path in SDK.rglob("*.py") if "build" not in path.relative_to(SDK).parts)


def imported(node: ast.AST, *, guarded: bool = False) -> Iterator[tuple[str, bool]]:
    """The top-level name of each module that is imported, and whether it stands in a `try` that takes its absence."""
    match node:
        case ast.Import():
            yield from ((alias.name.partition(".")[0], guarded) for alias in node.names)
        case ast.ImportFrom(level=0, module=str(module)):
            yield module.partition(".")[0], guarded
        case ast.Try():
            caught = {
                name.id for handler in node.handlers for name in ast.walk(handler) if isinstance(name, ast.Name)
            }
            takes = guarded or bool(caught & {"ImportError", "ModuleNotFoundError"})
            for child in ast.iter_child_nodes(node):
                yield from imported(child, guarded=takes if child in node.body else guarded)
            return
    for child in ast.iter_child_nodes(node):
        yield from imported(child, guarded=guarded)


def test_the_check_sees_imports_of_every_form() -> None:
    source = "import a.b, c\nfrom . import d\ntry:\n    from e.f import g\nexcept ImportError:\n    import h\n"
    assert [*imported(ast.parse(source))] == [("a", False), ("c", False), ("e", True), ("h", False)]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SDK)))
def test_a_module_imports_nothing_else(module: Path) -> None:
    found = {*imported(ast.parse(module.read_text()))}
    own = {"opentelemetry"} if module.name == "_spans.py" else set[str]()  # loaded only where it is in use
    assert {name for name, _ in found} - ALLOWED - own <= {"yaml"}
    assert ("yaml", False) not in found  # without PyYAML it says so where a config file is read


def test_all_packages_are_in_the_distribution() -> None:
    listed = tomllib.loads((SDK / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {module.parent for module in MODULES}
    assert {*listed} == {".".join(("sdk_python", *folder.relative_to(SDK).parts)) for folder in folders}


def test_its_licence_is_the_one_of_the_repository() -> None:
    assert (SDK / "LICENSE").read_bytes() == (SDK.parent / "LICENSE").read_bytes()
