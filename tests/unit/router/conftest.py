"""Fixtures of the tests of documents."""

import pytest

from sdk_python.document_router import _document
from tests.unit.deli.shared import DATA

# Recorded scenarios of another origin, on machines that have them; `test_recorded_sessions.py` plays ours.
collect_ignore = [] if DATA.exists() else ["test_vectors.py"]


@pytest.fixture
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_document, "MIN_BACKOFF_S", 0.001)
