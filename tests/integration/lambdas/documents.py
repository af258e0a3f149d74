"""A lambda of `failing` for each document of a partition. The document is the record's key."""

from __future__ import annotations

from sdk_python.document_router import document_router
from tests.integration.lambdas import failing

plugin = document_router(failing, key="record")
