"""The fixtures of the operator's tests."""

from tests.unit.operate.conftest import admin, invoke, serve

__all__ = ["admin", "invoke", "serve"]
