"""The collection, and the meaning of its errors.

There are two failures. `Away`: the same insert may succeed later, and the caller retries it. `Refused`: it never
will, since one record cannot be stored, and the caller must not retry it.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, ConfigurationError, DocumentTooLarge, OperationFailure, PyMongoError

from examples.scriptorium.operations import Operation, same
from examples.scriptorium.settings import Settings

log = logging.getLogger("kafka_sidecar.scriptorium")

KEY = [("documentId", 1), ("operation.sequenceNumber", 1), ("tenantId", 1)]
"""The unique index (SC-7)."""

DUPLICATE = 11000
_CANNOT = {115, 238}
"""CommandNotSupported, NotImplemented: FerretDB answers so to an expiry, for instance."""
_OTHER_OPTIONS = {85, 86}
_THE_DOCUMENTS_OWN = {2, 9, 14, 15, 22, 52, 53, 57, 121, 10334, 17280}
"""Write errors that the same document causes at every attempt: a bad value, key or type, too deep nesting (15), or
the refusal of a validator."""


class Away(Exception):  # noqa: N818  named for what the database is
    """The operations were not stored, or the outcome is unknown; it may be tried again."""


class Refused(Exception):  # noqa: N818
    """One operation will never be stored."""

    def __init__(self, operation: Operation, why: str) -> None:
        tenant_id, document_id = operation.document
        super().__init__(f"operation {operation.number} of {tenant_id}/{document_id} cannot be stored: {why}")
        self.offset = operation.offset


_TAIL = re.compile(r" \(configured timeouts|, Timeout: |, full error: ")

Different = Callable[[str, int], None]
"""Is called when operations differ from the stored ones with their numbers: a text and the first one's offset."""


class Store:
    """The collection of one process, shared by its partitions."""

    def __init__(self, settings: Settings) -> None:
        """It does not connect yet.

        Raises ``ValueError`` when the url cannot be parsed. The text does not repeat it: it may contain a password.
        """
        self._expire_after = settings.expire_after
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._told: set[str] = set()
        try:
            self._client: AsyncMongoClient[RawBSONDocument] = AsyncMongoClient(
                settings.url,
                document_class=RawBSONDocument,
                appname="scriptorium",
                serverSelectionTimeoutMS=int(settings.selection_timeout * 1000),
                connectTimeoutMS=int(settings.selection_timeout * 1000),
                socketTimeoutMS=int(settings.socket_timeout * 1000),
            )
        except (ConfigurationError, ValueError) as error:  # an InvalidURI is a ConfigurationError
            what = "user and password must be percent-encoded, and options spelled as in MongoDB's manual"
            raise ValueError(f"setting url: no valid MongoDB url ({type(error).__name__}): {what}") from None
        self._collection: AsyncCollection[RawBSONDocument] = self._client[settings.database][settings.collection]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ping(self) -> None:
        """Check that the server answers. Raises ``Away`` when it does not."""
        try:
            await self._client.admin.command("ping")
        except PyMongoError as error:
            raise Away(describe(error)) from error

    async def insert(self, operations: Sequence[Operation], different: Different) -> None:
        """Store operations of one document. Those that are stored already stay as they are (SC-7).

        Raises:
            Away: it may be tried again, with the same operations.
            Refused: one of them can never be stored.
        """
        try:
            await self._prepare()
            documents = [RawBSONDocument(operation.encoded) for operation in operations]
            try:
                await self._collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                duplicates = duplicates_in(error.details, operations)
                await self._compare(duplicates, different)
            except DocumentTooLarge as error:  # no PyMongoError; this server's limit is lower than `LARGEST`
                largest = max(operations, key=lambda operation: len(operation.encoded))
                raise Refused(largest, str(error)) from error
        except PyMongoError as error:
            self._prepared = False  # the server that comes back may be another one, without data
            raise Away(describe(error)) from error

    async def _compare(self, duplicates: Sequence[Operation], different: Different) -> None:
        """Operations with these numbers are stored: report those that differ (SC-15)."""
        tenant_id, document_id = duplicates[0].document
        numbers = [operation.number for operation in duplicates]
        query = {"documentId": document_id, "tenantId": tenant_id, "operation.sequenceNumber": {"$in": numbers}}
        stored: dict[int, bytes] = {}
        async for document in self._collection.find(query):
            stored[document["operation"]["sequenceNumber"]] = bytes(document.raw)
        others = []
        for operation in duplicates:
            if operation.number not in stored:
                raise Away(f"operation {operation.number} is stored and cannot be found")  # it has just expired
            if not same(operation.encoded, stored[operation.number]):
                others.append(operation)
        if others:
            shown = ", ".join(str(operation.number) for operation in others[:5]) + (", ..." if others[5:] else "")
            text = f"{tenant_id}/{document_id} has other operations stored under these numbers, which stay: {shown}"
            different(text, others[0].offset)

    async def _prepare(self) -> None:
        """Create the indexes, once, at the first insert: so a process starts without a database."""
        if self._prepared:
            return
        async with self._preparing:
            if self._prepared:
                return
            await self._collection.create_index(KEY, unique=True)
            if self._expire_after is not None:
                await self._let_expire(self._expire_after)
            self._prepared = True

    async def _let_expire(self, seconds: int) -> None:
        try:
            await self._collection.create_index("mongoTimestamp", expireAfterSeconds=seconds)
        except OperationFailure as error:
            if error.code in _CANNOT:
                self._warn("this server cannot remove old operations: expire_after has no effect, they stay")
            elif error.code in _OTHER_OPTIONS:
                self._warn("mongoTimestamp has an index with another expiry, which stays: change it with collMod")
            else:
                raise

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)


def duplicates_in(details: Mapping[str, Any], operations: Sequence[Operation]) -> list[Operation]:
    """The operations that are stored already, according to a bulk error without other errors (SC-15).

    Raises:
        Away: something failed that may succeed later.
        Refused: an operation can never be stored.
    """
    errors: Sequence[Mapping[str, Any]] = details.get("writeErrors") or ()
    concerns = details.get("writeConcernErrors") or ()
    others = [error for error in errors if error["code"] != DUPLICATE]
    for error in others:
        if error["code"] in _THE_DOCUMENTS_OWN:
            raise Refused(operations[error["index"]], f"{error.get('errmsg')} (code {error['code']})")
    if others:
        raise Away(f"{len(others)} writes failed, the first: {others[0].get('errmsg')} (code {others[0]['code']})")
    if concerns or not errors:
        raise Away(
            f"not written safely: {concerns[0].get('errmsg') if concerns else 'a bulk error without a reason'}"
        )
    return [operations[error["index"]] for error in errors]


def describe(error: PyMongoError) -> str:
    """One line about an error, for a log and an operator: the driver's text repeats the whole topology."""
    text = _TAIL.split(str(error), maxsplit=1)[0]
    return f"{type(error).__name__}: {text[:300]}"
