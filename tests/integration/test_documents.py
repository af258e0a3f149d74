"""Recorded documents through a broker, a sidecar and a lambda process: each message once, in order."""

from __future__ import annotations

import json
import signal

import pytest

from tests.integration import checks
from tests.integration.harness import Stage
from tests.integration.lambdas.writer import hash_of
from tests.recorded import all_documents
from tests.servers.topics import Record

PARTITIONS = 2
SLOWLY = 0.001
"""Seconds that a handler takes in tests that must act in between."""


def recorded() -> list[Record]:
    """Every line of every recording, as the service would have produced it; the documents alternate."""
    documents: list[list[Record]] = []
    for path in all_documents():
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        documents.append([Record(line["key"].encode(), _compact(line["value"])) for line in lines])
    longest = max(map(len, documents))
    return [document[turn] for turn in range(longest) for document in documents if turn < len(document)]


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def records(stage: Stage) -> list[Record]:
    """The recordings, produced to the stage's topic."""
    stage.create_topic(PARTITIONS)
    made = recorded()
    stage.produce(made)
    return made


def check_all(stage: Stage, records: list[Record]) -> None:
    """Each document's messages were handled once, in the order of the recording, and committed."""
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events)
    wanted = dict(zip(stage.produced, (hash_of(record.value) for record in records), strict=True))
    got = {(event.partition, event.offset): event.hash for event in events if event.kind == "handled"}
    assert got == wanted
    assert stage.committed() == stage.end_offsets()


def test_every_message_once(stage: Stage, records: list[Record]) -> None:
    sidecar = stage.sidecar()
    process = stage.process(sidecar)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert process.terminate() == 0
    assert sidecar.terminate() == 0
    check_all(stage, records)
    assert [event.reason for event in stage.history.events("closed")] == ["stopped"] * PARTITIONS


def test_sidecar_ends_in_order_at_any_moment(stage: Stage, records: list[Record]) -> None:
    sidecar = stage.sidecar()
    stage.process(sidecar, handler_takes=SLOWLY)
    for turn, share in enumerate((0.05, 0.6)):
        stage.wait_until_handled(int(share * len(records)))
        assert sidecar.terminate() == 0
        # At the same address: the process reconnects by itself.
        sidecar = stage.sidecar(sidecar.config, f"sidecar{turn + 2}")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_all(stage, records)


def test_lambda_process_ends_in_order_at_any_moment(stage: Stage, records: list[Record]) -> None:
    sidecar = stage.sidecar()
    process = stage.process(sidecar, handler_takes=SLOWLY)
    for turn, share in enumerate((0.05, 0.5, 0.9)):
        stage.wait_until_handled(int(share * len(records)))
        assert process.terminate() == 0
        process = stage.process(sidecar, f"p{turn + 2}", handler_takes=SLOWLY)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_all(stage, records)
    assert len(sidecar.log("partitions assigned")) == 1, "the group saw nothing of it"
    assert not sidecar.log("partition backs off"), "an orderly end is no failure"


def test_both_end_at_once(stage: Stage, records: list[Record]) -> None:
    sidecar = stage.sidecar()
    process = stage.process(sidecar, handler_takes=SLOWLY)
    stage.wait_until_handled(len(records) // 2)
    sidecar.signal(signal.SIGTERM)
    process.signal(signal.SIGTERM)
    assert (sidecar.ended(), process.ended()) == (0, 0)
    sidecar = stage.sidecar(sidecar.config, "sidecar2")
    stage.process(sidecar, "p2")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_all(stage, records)
