"""Fixtures of the tests of documents."""

import pytest

from sdk_python.document_router import _document


@pytest.fixture
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_document, "FIRST_BACKOFF", 0.001)
