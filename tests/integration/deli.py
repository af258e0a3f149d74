"""deli for tests: a sidecar with the lambda, its process, and the sequenced operations."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AdminClient,
    ConfigResource,
    ResourceType,
)

from examples.deli import service
from examples.deli.runner import Deli
from examples.deli.settings import Settings
from sdk_python import CloseReason, IContext
from sdk_python.document_router import IDocumentContext
from tests.integration.harness import Program, Sidecar, Stage
from tests.servers.topics import Record, create_topic, end_offsets, read_all

Json = dict[str, Any]


class DeliStage:
    """Topics for rawdeltas, deltas and states, named after the test, and sidecars that host deli."""

    def __init__(self, stage: Stage, partitions: int = 2, **options: Any) -> None:
        """``options``: further options of the lambda."""
        self.stage = stage
        self.deltas = f"{stage.topic}-deltas"
        self.state = f"{stage.topic}-state"
        stage.create_topic(partitions)
        create_topic(stage.broker.address, self.deltas, partitions)
        settings = {
            "document_lambda": "examples.deli.service",
            "deltas": self.deltas,
            "state": self.state,
            "kafka": {"bootstrap.servers": stage.broker.address},
            **options.pop("settings", {}),
        }
        self.options = {"produce": [self.deltas, stage.topic, self.state], **options}
        self.settings = settings
        self._partitions = partitions
        self._documents: dict[str, int] = {}
        """In the order in which they came."""
        self.sidecar: Sidecar = self.start("sidecar")

    def start(self, label: str) -> Sidecar:
        """Start one more sidecar of the group."""
        config = self.stage.config(label=label, **self.options)
        config["lambdas"]["echo"] |= {"settings": self.settings, "plugin": "sdk_python.document_router"}
        return self.stage.sidecar(config, label)

    def process(self, label: str = "deli", sidecar: Sidecar | None = None, sequencer: Json | None = None) -> Program:
        """Start a deli process, by default at the first sidecar. ``sequencer``: settings of the sequencer."""
        module = ["echo", "sdk_python.document_router", "--address", (sidecar or self.sidecar).address]
        module += [] if sequencer is None else ["--set", f"sequencer={json.dumps(sequencer)}"]
        return self.stage.program(label, [sys.executable, "-m", "sdk_python.serve", *module])

    def feed(self, records: Iterable[tuple[str, Json]]) -> None:
        """Produce boxcars with their document as the key. The documents are dealt to the partitions in turn."""
        self.stage.produce(
            Record(
                key=key.encode(),
                value=json.dumps(value, separators=(",", ":")).encode(),
                partition=self._documents.setdefault(key, len(self._documents)) % self._partitions,
            )
            for key, value in records
        )

    @contextmanager
    def trickle(self, records: Iterable[tuple[str, Json]], interval: float) -> Iterator[None]:
        """Produce these one by one during the block, and wait for the last."""

        def slowly() -> Iterator[tuple[str, Json]]:
            for record in records:
                time.sleep(interval)
                yield record

        thread = threading.Thread(target=self.feed, args=(slowly(),))
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def written(self) -> int:
        """The number of records in deltas."""
        return sum(end_offsets(self.stage.broker.address, self.deltas).values())

    def has_got_on(self) -> bool:
        """Whether each partition has a new checkpoint since its last process ended, or is caught up."""
        partitions = self.sidecar.partitions().values()
        return all(one.attempt == 1 or one.committed == one.end for one in partitions)

    def operations(self) -> dict[str, list[Json]]:
        """The sequenced operations of each document, in the topic's order. A nack fails the test."""
        found: dict[str, list[Json]] = {}
        for record in read_all(self.stage.broker.address, self.deltas):
            boxcar = json.loads(record.value or b"")
            for message in boxcar["contents"]:
                assert message["type"] == "SequencedOperation", message
                found.setdefault(message["documentId"], []).append(message["operation"])
        return found


class _Told:
    """A document's lambda that logs its creation and its end."""

    def __init__(self, deli: Deli, document: str) -> None:
        self.handler = deli.handler
        self._close = deli.close
        self._document = document
        print(f"opened {document}", flush=True)

    async def close(self, reason: CloseReason) -> None:
        """See `IPartitionLambda`."""
        saved = self._close(reason)
        if saved is not None:
            await saved
        print(f"closed {self._document}", flush=True)


class _TellingFactory(service.Factory):
    async def create(self, config: Mapping[str, Any], context: IContext) -> _Told:  # type: ignore[override]
        return _Told(await super().create(config, context), cast("IDocumentContext", context).document_id)


async def create(config: Mapping[str, Any]) -> _TellingFactory:
    """This module as ``document_lambda``: deli, whose documents log when they open and close."""
    return _TellingFactory(Settings.of(config))


def cleanup_policy(address: str, topic: str) -> str:
    """A topic's `cleanup.policy`."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": address})
    return str(admin.describe_configs([resource])[resource].result(20.0)["cleanup.policy"].value)


def recorded(paths: Sequence[Path]) -> tuple[list[tuple[str, Json]], dict[str, list[Json]]]:
    """The raw records of these recordings, interleaved, and the expected operations of each document.

    All recordings begin and end together, whatever their lengths: each part of the records has some of each document.
    """
    raw: list[tuple[float, tuple[str, Json]]] = []
    wanted: dict[str, list[Json]] = {}
    for path in paths:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        raw += [(number / len(lines), (line["key"], line["value"])) for number, line in enumerate(lines)]
        deltas = path.with_name(path.name.replace("rawdeltas", "deltas"))
        wanted[lines[0]["key"]] = [json.loads(line) for line in deltas.read_bytes().splitlines()]
    return [record for _, record in sorted(raw, key=itemgetter(0))], wanted


def check_numbers(operations: dict[str, list[Json]], wanted: dict[str, list[Json]], *, again: bool) -> int:
    """Check each document's operations and their order. Returns how many came more than once.

    With ``again`` a number may be repeated, with the same content except for the time of the state in it. Recordings
    do not contain the sequencer's own messages at the end, such as a leave.
    """
    repeated = 0
    for document, expected in wanted.items():
        by_number: dict[int, Json] = {}
        for operation in map(_timeless, operations.get(document, [])):
            number = operation["sequenceNumber"]
            known = by_number.setdefault(number, operation)
            assert known == operation, f"{document}: number {number} came twice, with other content"
            if known is not operation:
                repeated += 1
                assert again, f"{document}: number {number} came twice"
            else:
                assert number == len(by_number), f"{document}: number {number} after {len(by_number) - 1}"
        for operation in expected:
            made = by_number.get(operation["sequenceNumber"])
            assert made is not None, f"{document}: number {operation['sequenceNumber']} is missing"
            assert {name: made[name] for name in operation} == operation
    return repeated


def _timeless(operation: Json) -> Json:
    operation = {name: value for name, value in operation.items() if name != "traces"}
    if "additionalContent" in operation:
        operation["additionalContent"] = {**json.loads(operation["additionalContent"]), "checkpointTimestamp": 0}
    return operation


def boxcar(document: str, *entries: Json) -> Json:
    """A record's value."""
    contents = [{**entry, "documentId": document, "tenantId": "t", "type": "RawOperation"} for entry in entries]
    return {"contents": contents, "documentId": document, "tenantId": "t", "type": "boxcar"}


def join(client: str) -> Json:
    """A client's join."""
    detail = {"mode": "write", "scopes": ["doc:read", "doc:write"], "user": {"id": client}}
    data = json.dumps({"clientId": client, "detail": detail})
    service = {"clientSequenceNumber": -1, "referenceSequenceNumber": -1, "contents": None}
    return {"clientId": None, "timestamp": 1, "operation": {**service, "type": "join", "data": data}}


def operation(client: str, number: int, reference: int = 1) -> Json:
    """A client's operation."""
    made = {"clientSequenceNumber": number, "referenceSequenceNumber": reference, "contents": number, "type": "op"}
    return {"clientId": client, "timestamp": number, "operation": made}
