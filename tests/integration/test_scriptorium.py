"""scriptorium with a real server of MongoDB's protocol: stored documents, logs, and outages."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient

from examples.scriptorium import plugin
from examples.scriptorium.scriptorium import ScriptoriumFactory
from sdk_python.testing import FakeSidecar
from tests.integration.harness import NAME, Stage, wait_for
from tests.servers.ferretdb import FerretServer
from tests.servers.topics import Record
from tests.unit.scriptorium.shared import TENANT, boxcar, boxcars, nack, sequenced, until

QUICK = {"retry_waits": [0.02, 0.05], "selection_timeout": 0.3, "health_interval": 0.05}
"""An outage and its end are noticed within a test's time."""

Document = dict[str, Any]


@pytest.fixture
def settings(ferret: FerretServer) -> dict[str, Any]:
    """Settings with a collection for this test only."""
    return {"url": ferret.url, "database": f"d{uuid.uuid4().hex[:8]}", "collection": "deltas", **QUICK}


class Stored:
    """The collection's content."""

    def __init__(self, client: AsyncMongoClient[Document], settings: dict[str, Any]) -> None:
        self.collection = client[settings["database"]][settings["collection"]]

    async def numbers(self, document: str = "doc") -> list[int]:
        """The sorted sequence numbers of a document, with duplicates."""
        found = [entry async for entry in self.collection.find({"documentId": document})]
        return sorted(entry["operation"]["sequenceNumber"] for entry in found)

    async def one(self, number: int) -> Document:
        """A stored operation."""
        found = [entry async for entry in self.collection.find({"operation.sequenceNumber": number})]
        assert len(found) == 1
        return found[0]


@pytest.fixture
async def stored(settings: dict[str, Any]) -> AsyncIterator[Stored]:
    """The collection, for reading it and for writing to it as another client."""
    async with AsyncMongoClient[Document](settings["url"]) as client:
        yield Stored(client, settings)


async def test_what_is_stored(settings: dict[str, Any], stored: Stored) -> None:
    """SC-1, SC-2, SC-6."""
    message = sequenced(7, contents={"k": [1, 2.5, None, "\ud800", 2**70]}, metadata={"batch": True})
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        await sidecar.feed(boxcar(nack(), message, nack()))
        await sidecar.checkpointed(0)
    found = await stored.one(7)
    del found["_id"]
    expected = {**message, "operation": {**message["operation"], "traces": []}}
    expected["operation"]["contents"] = {"k": [1, 2.5, None, "\ufffd", float(2**70)]}
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=message["operation"]["timestamp"])
    assert found.pop("mongoTimestamp") == time.replace(tzinfo=None)
    assert found == expected


async def test_unique_index(settings: dict[str, Any], stored: Stored) -> None:
    """SC-7: another client cannot store a number a second time."""
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        await sidecar.feed(boxcar(sequenced(1)))
        await sidecar.checkpointed(0)
    indexes = await stored.collection.index_information()
    unique = [index["key"] for index in indexes.values() if index.get("unique") and index["key"] != [("_id", 1)]]
    assert unique == [[("documentId", 1), ("operation.sequenceNumber", 1), ("tenantId", 1)]]


async def test_many_documents_in_slices(settings: dict[str, Any], stored: Stored) -> None:
    """SC-5, with parallel inserts into the real server; nothing is pending when the last checkpoint comes."""
    documents = [f"doc-{number}" for number in range(20)]
    values = [boxcar(sequenced(number, document)) for number in range(1, 26) for document in documents]
    async with FakeSidecar(plugin, settings={**settings, "max_db_batch_size": 10}) as sidecar:
        await sidecar.feed(*values)
        await sidecar.checkpointed(len(values) - 1)
        assert sidecar.errors == []
    for document in documents:
        assert await stored.numbers(document) == [*range(1, 26)]


async def test_replay_is_harmless(settings: dict[str, Any], stored: Stored) -> None:
    """SC-7: repeated operations, also from a restarted sequencer, change nothing and are not reported."""
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        await sidecar.feed(*boxcars(range(1, 11)))
        await sidecar.checkpointed(9)
    first = await stored.one(10)
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        later = [{"service": "deli", "action": "start", "timestamp": 99}]
        again = [sequenced(number, traces=later, additionalContent="{}") for number in range(5, 21)]
        await sidecar.feed(*(boxcar(message) for message in again))
        await sidecar.checkpointed(15)
        assert sidecar.errors == []
    assert await stored.numbers() == [*range(1, 21)]
    assert await stored.one(10) == first


async def test_different_operation_with_a_used_number(settings: dict[str, Any], stored: Stored) -> None:
    """SC-15: the first one stays, the other is reported, and the rest of its insert is stored."""
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        await sidecar.feed(boxcar(sequenced(1), sequenced(2)))
        await sidecar.checkpointed(0)
        await sidecar.feed(boxcar(sequenced(1), sequenced(2, contents="other"), sequenced(3)))
        await sidecar.checkpointed(1)
        await until(lambda: sidecar.errors, "a report")
        (error,) = sidecar.errors
    assert (error.action, error.offset) == ("report", 1)
    assert error.message == f"{TENANT}/doc has other operations stored under these numbers, which stay: 2"
    assert await stored.numbers() == [1, 2, 3]
    assert (await stored.one(2))["operation"]["contents"] == "contents 2"


async def test_expiry_that_the_server_has_not(
    settings: dict[str, Any], stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeSidecar(plugin, settings={**settings, "expire_after": 3600}) as sidecar:
        await sidecar.feed(boxcar(sequenced(1)))
        await sidecar.checkpointed(0)
        assert sidecar.errors == []
    assert [record.message for record in caplog.records if "expire_after" in record.message] == [
        "this server cannot remove old operations: expire_after has no effect, they stay"
    ]
    assert await stored.numbers() == [1]


async def test_an_operation_that_the_server_refuses_is_critical(settings: dict[str, Any], stored: Stored) -> None:
    """It is a critical error with its offset, not an outage; the next lambda stores the operations around it."""
    refused = boxcar(sequenced(2, contents={"$key": 1}))  # FerretDB has no such keys
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        await sidecar.feed(boxcar(sequenced(1)), refused, boxcar(sequenced(3)))
        await sidecar.ended()
        (error,) = sidecar.errors
    assert (error.action, error.offset) == ("critical", 1)
    assert f"operation 2 of {TENANT}/doc cannot be stored" in error.message
    assert sidecar.checkpoint in {None, 0}
    assert 2 not in await stored.numbers()


async def test_database_is_absent_at_the_start(
    ferret: FerretServer, settings: dict[str, Any], stored: Stored
) -> None:
    ferret.kill()
    try:
        async with FakeSidecar(plugin, settings=settings) as sidecar:
            await sidecar.feed(*boxcars(range(1, 6)))
            await until(lambda: sidecar.paused, "a pause")
            assert f"{ferret.url.removeprefix('mongodb://')}: [Errno 111]" in (sidecar.paused or "")
            assert sidecar.checkpoint is None
            ferret.start()
            await sidecar.checkpointed(4)
            assert sidecar.errors == [], "nothing was restarted"
    finally:
        if not ferret.running:
            ferret.start()
    assert await stored.numbers() == [*range(1, 6)]


async def test_short_outage_needs_no_pause(ferret: FerretServer, settings: dict[str, Any], stored: Stored) -> None:
    """SC-8."""
    patient = {**settings, "retry_waits": [0.1] * 100}
    async with FakeSidecar(plugin, settings=patient) as sidecar:
        await sidecar.feed(*boxcars(range(1, 6)))
        await sidecar.checkpointed(4)
        ferret.kill()
        await sidecar.feed(*boxcars(range(6, 11)))
        assert sidecar.checkpoint == 4
        ferret.start()
        await sidecar.checkpointed(9)
        assert sidecar.paused is None
        assert sidecar.errors == []
    assert await stored.numbers() == [*range(1, 11)]


async def test_stop_in_an_outage(ferret: FerretServer, settings: dict[str, Any], stored: Stored) -> None:
    """It ends at once, even with waiting operations, and the next lambda goes on from the checkpoint."""
    async with FakeSidecar(plugin, settings={**settings, "retry_waits": [3600]}) as sidecar:
        await sidecar.feed(boxcar(sequenced(1)))
        await sidecar.checkpointed(0)
        ferret.kill()
        await sidecar.feed(*boxcars(range(2, 6)))
        await sidecar.revoke()
        ferret.start()
        await sidecar.assign()
        await sidecar.checkpointed(4)
    assert await stored.numbers() == [*range(1, 6)]


async def test_url_that_the_driver_refuses_is_in_no_error() -> None:
    with pytest.raises(ValueError, match="no valid MongoDB url") as caught:
        await plugin.create({"url": "mongodb://user:secret@word@host"})
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__
    factory = await plugin.create({"url": "mongodb://user:secret@127.0.0.1:1"})
    assert isinstance(factory, ScriptoriumFactory)
    assert "secret" not in repr(factory._settings)
    await factory.dispose()


def test_database_dies_under_traffic(embedded_stage: Stage, ferret: FerretServer, settings: dict[str, Any]) -> None:
    """The whole path: a sidecar, a lambda process, two partitions; the database is killed meanwhile."""
    stage = embedded_stage
    stage.create_topic(2)
    documents = ["zero", "one"]

    def produce(numbers: range) -> None:
        stage.produce(
            Record(value=value, partition=partition)
            for partition, document in enumerate(documents)
            for value in boxcars(numbers, document)
        )

    config = stage.config(plugin="examples.scriptorium")
    config["lambdas"][NAME]["settings"] = settings  # without those of the suite's own lambdas
    sidecar = stage.sidecar(config)
    command = [sys.executable, "-m", "sdk_python.serve", NAME, "--config", str(sidecar.path)]
    stage.program("scriptorium", command)
    produce(range(1, 1001))
    with MongoClient[Document](ferret.url) as client:
        collection = client[settings["database"]][settings["collection"]]
        wait_for(lambda: collection.estimated_document_count() > 0, "the first operations to be stored")
    ferret.kill()
    try:
        produce(range(1001, 2001))
        wait_for(lambda: {sidecar.state(n) for n in (0, 1)} == {"paused"}, "both to be paused")
        assert "operations cannot be stored" in sidecar.partitions()[0].reason
    finally:
        ferret.start()
    stage.wait_until_caught_up()
    assert sidecar.lambda_status().restarts == 0
    with MongoClient[Document](ferret.url) as client:
        collection = client[settings["database"]][settings["collection"]]
        for document in documents:
            found = collection.find({"documentId": document})
            numbers = sorted(entry["operation"]["sequenceNumber"] for entry in found)
            assert numbers == [*range(1, 2001)]
