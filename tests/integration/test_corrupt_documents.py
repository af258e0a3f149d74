"""A record that a document cannot process: a dead letter, a halt, or a document that is skipped."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.commands import client
from sidecar.commands.target import Target
from tests.integration import checks
from tests.integration.dead import CONNECT, OURS, added, dead_topic, failures_of, read_dead, sources
from tests.integration.harness import NAME, PATIENCE, Program, Sidecar, Stage, wait_for
from tests.servers.topics import Record, partition_count

DOCUMENTS = {0: ("a", "b", "c"), 1: ("d",)}
"""By partition. The records of a partition's documents alternate."""
EACH = 40
"""Records of each document."""
POISON = [(0, 6), (0, 7), (0, 60)]
"""Records of a, of b right after it, and of a again."""
LONG = max(PATIENCE, 60.0)

pytestmark = pytest.mark.parametrize("slowly", [0, 0.002], ids=["sync", "async"])


def start(stage: Stage, slowly: float, corrupt_documents: str | None, **options: Any) -> tuple[Sidecar, Program]:
    """Produce all records; start a sidecar and a router whose documents fail at `POISON`."""
    stage.create_topic(len(DOCUMENTS))
    for partition, keys in DOCUMENTS.items():
        stage.produce(
            Record(key.encode(), b"%d" % number, partition=partition) for number in range(EACH) for key in keys
        )
    settings: dict[str, Any] = {"fail_records": POISON, "handler_takes": slowly}
    if corrupt_documents is not None:
        settings["document_router"] = {"corrupt_documents": corrupt_documents}
    sidecar = stage.sidecar(**options)
    sidecar.wait_for_log("listening for lambdas", timeout=LONG)
    return sidecar, stage.process(sidecar, module="documents", **settings)


def test_the_record_becomes_a_dead_letter_and_its_document_goes_on(stage: Stage, slowly: float) -> None:
    sidecar, _ = start(stage, slowly, None, on_critical="dead-letter")
    stage.wait_until_handled(len(stage.produced) - len(POISON), LONG)
    stage.wait_until_caught_up(LONG)
    events = stage.history.events()
    checks.all_handled(stage.produced, events, left_out=POISON)
    others = [record for record in checks.record_ids(events) if record[0] == 1]
    assert len(others) == EACH, "the other one noticed nothing"
    letters = read_dead(stage)
    assert sources(letters) == POISON
    for letter in letters:
        said = added(letter)
        offset = int(said[f"{CONNECT}offset"])
        assert letter.key == DOCUMENTS[0][offset % 3].encode()
        assert said[f"{CONNECT}exception.class.name"] == "ValueError"
        assert said[f"{CONNECT}exception.message"] == f"cannot read message {offset}"
        assert f"document {DOCUMENTS[0][offset % 3]}" in said[f"{CONNECT}exception.stacktrace"]
        assert said[f"{OURS}attempts"] == "1"
    status = sidecar.lambda_status()
    assert (status.dead_letters, status.skipped_records) == (len(POISON), 0)


def test_the_partition_halts_at_the_record(stage: Stage, slowly: float) -> None:
    sidecar, _ = start(stage, slowly, "fail")
    met = []
    for _ in POISON:
        halted = sidecar.wait_for_state("halted", 0, timeout=LONG)
        met.append((0, halted.failing_offset))
        assert "cannot read message" in halted.reason
        # The commit is not above the first unfinished record.
        assert 0 <= (stage.committed().get(0) or 0) <= halted.failing_offset
        resumed = client.resume(sidecar.address, None, Target(NAME, stage.topic, 0), skip=True)
        assert resumed.skipped == halted.failing_offset
        wait_for(lambda halted=halted: sidecar.partitions()[0].failing_offset != halted.failing_offset, "it to go on")  # type: ignore[misc]
    stage.wait_until_handled(len(stage.produced) - len(POISON), LONG)
    stage.wait_until_caught_up(LONG)
    assert sorted(met) == POISON
    checks.all_handled(stage.produced, stage.history.events(), left_out=POISON)
    assert sidecar.lambda_status().skipped_records == 0


def test_only_the_document_is_skipped(stage: Stage, slowly: float) -> None:
    sidecar, process = start(stage, slowly, "skip", on_critical="dead-letter")
    stage.wait_until_caught_up(LONG)
    # a stops at 6 and has handled 0 and 3, b stops at 7 and has handled 1 and 4.
    left_out = [(0, offset) for offset in range(6, 3 * EACH) if offset % 3 != 2]
    checks.all_handled_once(stage.produced, stage.history.events(), left_out=left_out)
    assert failures_of(stage) == POISON[:2]
    wait_for(lambda: sidecar.lambda_status().skipped_records == len(left_out), lambda: f"{sidecar.lambda_status()}")
    partition = sidecar.partitions()[0]
    assert (partition.skipped_records, partition.skipping_count) == (len(left_out), 2)
    assert sorted(partition.skipping) == ["a", "b"]
    shown = sidecar.cli("status").stdout
    assert f"{len(left_out)} skipped records" in shown
    assert f"skips 2 corrupt documents (b, a), {len(left_out)} records so far" in shown
    lines = sidecar.log("documents are corrupt: their records are skipped")
    assert sorted(name for line in lines for name in line["documents"]) == ["a", "b"]
    assert process.text().count("is corrupt") == 2, "one line a document"
    assert sidecar.lambda_status().reports == 2
    assert partition_count(stage.broker.address, dead_topic(stage)) == 0
    # A restart opens them again; the counters keep their values.
    assert process.terminate() == 0
    stage.process(
        sidecar, "p2", module="documents", fail_records=[(1, 999)], document_router={"corrupt_documents": "skip"}
    )
    stage.produce([Record(key.encode(), b"again", partition=0) for key in DOCUMENTS[0]])
    stage.wait_until_caught_up(LONG)
    checks.all_handled_once(stage.produced, stage.history.events(), left_out=left_out)
    assert sidecar.partitions()[0].skipping_count == 0
    assert sidecar.lambda_status().skipped_records == len(left_out)
