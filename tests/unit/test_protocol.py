"""The generated code is what `proto/` says now."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_protocol", ROOT / "tools" / "generate_protocol.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path)
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(fresh) == sorted(
        path.name for path in (ROOT / "sdk_python" / "protocol").iterdir() if "_pb2" in path.name
    )
    for name, text in fresh.items():
        kept = (ROOT / "sdk_python" / "protocol" / name).read_text()
        if text != kept:
            pytest.fail(f"sdk_python/protocol/{name} is not what proto/ generates: run `make proto`")
