"""Large records through shared memory: none is lost or changed, also when a process dies in the middle."""

from __future__ import annotations

import pytest

from sidecar.shared_memory.memory import why_impossible
from tests.integration import checks
from tests.integration.harness import Stage, needs_extension, wait_for
from tests.integration.lambdas.writer import hash_of
from tests.integration.test_metrics import scrape
from tests.servers.process import free_ports
from tests.servers.topics import Record

pytestmark = [needs_extension, pytest.mark.skipif(why_impossible() != "", reason="needs Linux on x86-64")]

PARTITIONS, RECORDS = 2, 1_000


def value_of(number: int) -> bytes:
    """20 kB that are different in each record."""
    return b"%08d" % number * 2_500


def test_large_records_while_a_process_is_killed(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(PARTITIONS)
    values = [value_of(number) for number in range(RECORDS)]
    made = stage.produce([Record(value=one, partition=n % PARTITIONS) for n, one in enumerate(values)])
    hashes = {record: hash_of(one) for record, one in zip(made, values, strict=True)}
    (port,) = free_ports(1)
    # Small frames and windows, so that each ring begins anew many times.
    config = stage.config(frame={"bytes": "100kB"}, window={"messages": 50})
    config["server"]["shared_memory"] = "16MiB"
    sidecar = stage.sidecar({**config, "operate": {"listen": f"127.0.0.1:{port}"}})
    first = stage.process(sidecar, "first", handler_takes=0.001)
    stage.wait_until_handled(RECORDS // 4)
    stage.process(sidecar, "second")
    first.kill()
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(made, events)
    checks.gapless_leases(made, events)
    for event in events:
        if event.kind == "handled":
            assert event.hash == hashes[event.partition, event.offset]
    wait_for(lambda: scrape(port)["frames_shared_bytes_total"][""] > RECORDS * 20_000 // 2, "most to be shared")
