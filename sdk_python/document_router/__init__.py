"""The document router: a lambda for each document of a partition, and one checkpoint for all of them.

``plugin: sdk_python.document_router`` and ``document_lambda: MODULE`` in the config, or `document_router` in a module
of your own. See docs/document_router.md.
"""

from ._context import CorruptDocument, IDocumentContext
from ._keys import DocumentKey, DocumentMessage
from ._plugin import DocumentRouter, document_router

__all__ = [
    # the plugin
    "plugin",
    "document_router",
    "DocumentRouter",
    # what a document's lambda gets
    "DocumentMessage",
    "IDocumentContext",
    # what it and a key function may say
    "DocumentKey",
    "CorruptDocument",
]

plugin = document_router()
