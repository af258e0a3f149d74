"""`failing` for each document of a partition; a record's key is its document."""

from __future__ import annotations

from sdk_python.document_router import document_router
from tests.integration.lambdas import failing

plugin = document_router(failing, key="record")
