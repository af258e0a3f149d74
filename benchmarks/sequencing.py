"""deli: sequenced operations per second, end to end and with the logic alone."""

import json
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from confluent_kafka import Producer

from benchmarks.processes import cpu_seconds, memory_mb, sidecar
from examples.deli import Config, Deltas, Document, Record, Sequencer, State, encode_boxcar, parse_boxcar
from tests.servers.topics import create_topic, end_offsets, read_all

PARTITIONS = 8
DOCUMENTS = 80
TENANT = "benchmark"
NOW = 1_700_000_000_000
CONTENTS = "x" * 100
"""Bytes of each operation's contents."""

Figures = dict[str, float]


def boxcars(documents: int, operations: int) -> Iterator[tuple[str, bytes]]:
    """The records of this many documents, in turn. Each document has one client, which joins and sends operations."""
    names = [f"document-{number}" for number in range(documents)]
    for name in names:
        yield name, _boxcar(name, _join(name))
    for number in range(1, operations + 1):
        for name in names:
            yield name, _boxcar(name, _operation(name, number))


def fill(broker: str, topic: str, operations: int) -> int:
    """Create the topic with this many operations of each document. Returns how many numbers deli has to give.

    Raises ``RuntimeError`` when the records could not be written.
    """
    create_topic(broker, topic, PARTITIONS)
    # Idempotent: else a record that the broker refuses, since the topic is so new, is sent again after later records.
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "log_level": 3,  # the coordinator may not be ready yet, which needs no line
        }
    )
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
    written = sum(end_offsets(broker, topic).values())
    if written != count:
        raise RuntimeError(f"{written} of {count} records were written")
    return count


def run(
    broker: str, topic: str, total: int, sequencer: Mapping[str, object] | None = None, processes: int = 1
) -> Figures:
    """One run end to end: rawdeltas, sidecar, deli in its process, deltas, and the topic of deli's states.

    ``sequencer`` are settings of deli. Several ``processes`` share the partitions evenly. The first quarter is not
    timed. Raises ``RuntimeError`` when `check` refuses the output.
    """
    deltas, state = (f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("deltas", "states"))
    create_topic(broker, deltas, PARTITIONS)
    settings = {
        "document_lambda": "examples.deli.service",
        "deltas": deltas,
        "state": state,
        "kafka": {"bootstrap.servers": broker},
        "sequencer": dict(sequencer or {}),
    }
    with sidecar(broker, [topic], settings, produce=[deltas, state, topic]) as host:
        share = ["--max-partitions", str(PARTITIONS // processes)]
        running = [host.serve_with({}, "sdk_python.document_router", share) for _ in range(processes)]
        figures = timed(broker, deltas, total, [host.process, *running])
        host.end_lambdas()
    check((stored.value or b"" for stored in read_all(broker, deltas)), total)
    return figures


def timed(broker: str, deltas: str, total: int, processes: Sequence[subprocess.Popen[bytes]]) -> Figures:
    """Numbers per second from a quarter of ``total`` on, and the CPU time and memory of the processes, which just
    started.

    A program that reads far ahead has done a part of the later work by then. So ``with_the_start`` counts from now
    on, and the CPU time from the first number on: without the start of the processes.

    Raises ``RuntimeError`` when a process ends before, or after five minutes.
    """
    started = time.perf_counter()
    begun, _ = _when(broker, deltas, 1, processes)
    spent = sum(cpu_seconds(process.pid) for process in processes)
    first, began = _when(broker, deltas, total // 4, processes)
    last, ended = _when(broker, deltas, total, processes)
    return {
        "operations_per_second": (last - first) / (ended - began),
        "with_the_start": last / (ended - started),
        "cpu_seconds_per_million": (sum(cpu_seconds(process.pid) for process in processes) - spent)
        / (last - begun)
        * 1e6,
        "memory_mb": sum(memory_mb(process.pid, "VmHWM") for process in processes),
    }


def check(values: Iterable[bytes], total: int) -> None:
    """Check that these records of deltas are exactly the ``total`` numbers for the records of `boxcars`.

    Each document's numbers are 1, 2, 3, ...: its join, then its client's operations, each once and with its contents.
    Raises ``RuntimeError`` when they are not.
    """
    given: Counter[str] = Counter()
    for value in values:
        for message in json.loads(value)["contents"]:
            document, operation = message["documentId"], message["operation"]
            given[document] += 1
            number = given[document]
            asked = ("join", -1, None) if number == 1 else ("op", number - 1, CONTENTS)
            got = tuple(operation.get(name) for name in ("type", "clientSequenceNumber", "contents"))
            if (message["type"], operation["sequenceNumber"], got) != ("SequencedOperation", number, asked):
                raise RuntimeError(f"{document}: this is not its number {number}: {message}")
    if len(given) != DOCUMENTS or {*given.values()} != {total // DOCUMENTS}:
        raise RuntimeError(f"{given.total()} numbers for {len(given)} documents, not {total} for {DOCUMENTS}")


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


def _when(broker: str, topic: str, count: int, processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, float]:
    """Wait for ``count`` records. Returns how many there are then, and the time."""
    deadline = time.monotonic() + 300
    while True:
        written, now = sum(end_offsets(broker, topic).values()), time.perf_counter()
        if written >= count:
            return written, now
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"a process ended when {written} of {count} records were out")
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
        "contents": CONTENTS,
        "type": "op",
        "traces": [],
    }
    return {"clientId": f"client-of-{document}", "operation": operation}
