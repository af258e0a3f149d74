"""The core stays pure: it can be tested and reasoned about without a thread, a clock or a network."""

import ast
from pathlib import Path

import pytest

import sidecar.partitions

FORBIDDEN = {"threading", "asyncio", "grpc", "confluent_kafka", "time"}
MODULES = sorted(Path(sidecar.partitions.__path__[0]).glob("*.py"))


def imported(source: str) -> set[str]:
    """The top-level names of all modules that a source imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_the_check_sees_imports_of_every_form() -> None:
    source = "import os, time as t\ndef f():\n    from grpc.aio import server\n    import asyncio.events\n"
    assert imported(source) == {"os", "time", "grpc", "asyncio"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_module_of_the_core_reaches_outside(module: Path) -> None:
    assert not imported(module.read_text()) & FORBIDDEN


def test_the_core_knows_nothing_of_the_rest_of_the_sidecar() -> None:
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sidecar"):
                assert (node.module or "").startswith("sidecar.partitions"), f"{module.name} imports {node.module}"
