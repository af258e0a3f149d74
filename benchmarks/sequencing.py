"""deli: sequenced operations a second, end to end and of the logic alone."""

import json
import signal
import time
import uuid
from collections.abc import Iterator

from confluent_kafka import Producer

from benchmarks.processes import cpu_seconds, sidecar
from examples.deli import Config, Deltas, Document, Record, Sequencer, State, encode_boxcar, parse_boxcar
from tests.servers.topics import create_topic, end_offsets

PARTITIONS = 8
DOCUMENTS = 80
TENANT = "benchmark"
NOW = 1_700_000_000_000

Figures = dict[str, float]


def boxcars(documents: int, operations: int) -> Iterator[tuple[str, bytes]]:
    """The records of so many documents, in turn: each has one client, which joins and sends operations."""
    names = [f"document-{number}" for number in range(documents)]
    for name in names:
        yield name, _boxcar(name, _join(name))
    for number in range(1, operations + 1):
        for name in names:
            yield name, _boxcar(name, _operation(name, number))


def fill(broker: str, topic: str, operations: int) -> int:
    """Make the topic with so many operations of each document; returns how many numbers deli has to give."""
    create_topic(broker, topic, PARTITIONS)
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "partitioner": "murmur2_random"})
    count = 0
    for name, value in boxcars(DOCUMENTS, operations):
        count += 1
        while True:
            try:
                producer.produce(topic, value, name)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return count


def run(broker: str, topic: str, total: int) -> Figures:
    """One run end to end: rawdeltas, sidecar, deli in its process, deltas, and its states beside them.

    The first quarter is not timed. Raises ``RuntimeError`` when not exactly ``total`` operations come out.
    """
    deltas, state = (f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("deltas", "states"))
    create_topic(broker, deltas, PARTITIONS)
    settings = {
        "document_lambda": "examples.deli.service",
        "deltas": deltas,
        "state": state,
        "kafka": {"bootstrap.servers": broker},
    }
    with sidecar(broker, [topic], settings, produce=[deltas, state, topic]) as host:
        process = host.serve_with({}, "sdk_python.document_router")
        began = _when(broker, deltas, total // 4)
        ended = _when(broker, deltas, total)
        cpu = cpu_seconds(host.process.pid) + cpu_seconds(process.pid)
        process.send_signal(signal.SIGTERM)
        if process.wait(30) != 0:
            raise RuntimeError("deli failed")
        written = sum(end_offsets(broker, deltas).values())
        if written != total:
            raise RuntimeError(f"{written} records came out, not {total}")
    (first, at_first), (last, at_last) = began, ended
    return {
        "operations_per_second": (last - first) / (at_last - at_first),
        "cpu_seconds_per_million": cpu / total * 1e6,
    }


def alone(total: int) -> Figures:
    """The logic alone, in this process: records as bytes in, records as bytes out."""
    records = [*boxcars(DOCUMENTS, max(1, total // DOCUMENTS - 1))]
    sequencers = {name: Sequencer(Document(TENANT, name), State(), Config(), NOW) for name, _ in records[:DOCUMENTS]}
    given = 0
    began = time.process_time()
    for offset, (name, value) in enumerate(records):
        for output in sequencers[name].feed(Record(offset, parse_boxcar(value)), NOW + offset):
            if isinstance(output, Deltas):
                encode_boxcar(output.messages, TENANT, name)
                given += len(output.messages)
    seconds = time.process_time() - began
    if given != len(records):
        raise RuntimeError(f"{given} numbers for {len(records)} operations")
    return {"operations_per_second": given / seconds}


def _when(broker: str, topic: str, count: int) -> tuple[int, float]:
    """How many records there are as soon as there are ``count``, and the time."""
    deadline = time.monotonic() + 300
    while True:
        written, now = sum(end_offsets(broker, topic).values()), time.perf_counter()
        if written >= count:
            return written, now
        if time.monotonic() > deadline:
            raise RuntimeError(f"{written} of {count} records came out in five minutes")
        time.sleep(0.05)


def _boxcar(document: str, entry: dict[str, object]) -> bytes:
    entry |= {"documentId": document, "tenantId": TENANT, "type": "RawOperation", "timestamp": NOW}
    return json.dumps(
        {"contents": [entry], "documentId": document, "tenantId": TENANT, "type": "boxcar"}, separators=(",", ":")
    ).encode()


def _join(document: str) -> dict[str, object]:
    detail = {"mode": "write", "scopes": ["doc:read", "doc:write"], "user": {"id": document}}
    data = json.dumps({"clientId": f"client-of-{document}", "detail": detail})
    service = {"clientSequenceNumber": -1, "referenceSequenceNumber": -1, "contents": None}
    return {"clientId": None, "operation": {**service, "type": "join", "data": data}}


def _operation(document: str, number: int) -> dict[str, object]:
    operation = {
        "clientSequenceNumber": number,
        "referenceSequenceNumber": number,
        "contents": "x" * 100,
        "type": "op",
        "traces": [],
    }
    return {"clientId": f"client-of-{document}", "operation": operation}
