"""Exactly-once with the Python SDK on real Kafka: each record is copied once, in any style, whatever is killed."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from tests.integration.harness import NAME, Program, Sidecar, Stage, Traffic, wait_for
from tests.integration.test_exactly_once import PARTITIONS, begin, options, produced, visible, wait_for_copies
from tests.servers.topics import Record

pytestmark = pytest.mark.kafka

SERVE = [sys.executable, "-m", "sdk_python.serve", NAME]


def copier(stage: Stage, sidecar: Sidecar, out: str, how: str, label: str = "p1") -> Program:
    settings = ["--set", f"out={out}", "--set", f"how={how}"]
    command = [*SERVE, "tests.integration.sdk_copier", "--address", sidecar.address, *settings]
    return stage.program(label, command)


def wait_until_copied(stage: Stage, out: str, how: str) -> None:
    wanted = produced(stage)
    ends = {partition: offsets[-1] + 1 for partition, offsets in wanted.items()}
    wait_for(lambda: stage.committed() == ends, lambda: f"{ends} to be committed, {stage.committed()} is")
    # Kafka marks the partitions of a transaction one after the other, perhaps the group's offsets first.
    total = sum(map(len, wanted.values()))
    wait_for(
        lambda: len(visible(stage, out)) >= total, lambda: f"{total} copies, {len(visible(stage, out))} are there"
    )
    found: dict[int, list[int]] = {}
    for record in visible(stage, out):
        partition, offset, _, number = map(int, (record.value or b"").split(b":"))
        copies = found.setdefault(partition, [])
        copies.append(offset)
        if how != "overlapping":
            assert number == len(copies), "the state is as old as the place"
    if how == "overlapping":
        found = {partition: sorted(offsets) for partition, offsets in found.items()}
    assert found == wanted


@pytest.mark.parametrize("how", ["plain", "awaited", "overlapping"])
def test_a_lambda_that_is_killed_copies_each_record_once(kafka_stage: Stage, how: str) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    sidecar = stage.sidecar(**options(out))
    with Traffic(stage, PARTITIONS, 0.002):
        for number in range(3):
            process = copier(stage, sidecar, out, how, f"p{number}")
            wait_for_copies(stage, out, 300)
            if number % 2:
                assert process.terminate() == 0
            else:
                process.kill()
    copier(stage, sidecar, out, how, "last")
    wait_until_copied(stage, out, how)


def test_a_sidecar_that_is_killed_lets_each_record_be_copied_once(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    with Traffic(stage, PARTITIONS, 0.002):
        for number in range(2):
            config = stage.config(label=f"s{number}", **options(out), kafka={"session.timeout.ms": 1000})
            sidecar = stage.sidecar(config, f"s{number}")
            copier(stage, sidecar, out, "plain", f"p{number}")
            wait_for_copies(stage, out, 300)
            sidecar.kill()
    sidecar = stage.sidecar(stage.config(label="last", **options(out)), "last")
    copier(stage, sidecar, out, "plain", "last copier")
    wait_until_copied(stage, out, "plain")


def test_the_example_counts_each_view_once(kafka_stage: Stage) -> None:
    stage, out = kafka_stage, begin(kafka_stage)
    sidecar = stage.sidecar(**options(out))
    pages, expected = [b"/home", b"/about", b"/shop"], Counter[str]()
    command = [*SERVE, "examples.count", "--address", sidecar.address, "--set", f"output={out}"]
    for number in range(3):
        process = stage.program(f"p{number}", command)
        views = [Record(value=b"x", key=pages[view % 3], timestamp=60_000 * (number + 1)) for view in range(500)]
        stage.produce(views)
        expected.update((view.key or b"").decode() for view in views)
        wait_until_more_is_committed(stage, number * 500)
        process.kill()
    stage.program("last", command)
    end = [Record(value=b"x", key=b"/end", timestamp=600_000, partition=number) for number in range(PARTITIONS)]
    stage.produce(end)
    wait_for(lambda: stage.committed() == stage.end_offsets(), lambda: f"{stage.committed()}")
    wait_for(lambda: counts(stage, out).total() >= expected.total(), "the counts to be visible")
    assert counts(stage, out) == expected


def counts(stage: Stage, out: str) -> Counter[str]:
    """How often each page was viewed, as the topic says."""
    found: Counter[str] = Counter()
    for record in visible(stage, out):
        row = json.loads(record.value or b"")
        found[row["key"]] += row["count"]
    return found


def wait_until_more_is_committed(stage: Stage, than: int) -> None:
    """Wait until more than so many records are committed."""
    wait_for(lambda: sum(stage.committed().values()) > than, "some to be committed")
