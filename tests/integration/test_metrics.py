"""What a scrape of a whole sidecar says, with a lambda process that handles records."""

from __future__ import annotations

import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from sidecar.operate.declared import EVERY
from tests.integration.harness import NAME, Stage, wait_for
from tests.servers.process import free_ports


def scrape(port: int) -> dict[str, dict[str, float]]:
    """The samples by name, and then by the values of their labels, but for the one lambda and the one topic."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            others = " ".join(
                value for label, value in sorted(sample.labels.items()) if label not in ("lambda", "topic")
            )
            found.setdefault(sample.name.removeprefix("kafka_sidecar_"), {})[others] = sample.value
    return found


def test_what_is_measured_of_records_on_their_way(stage: Stage) -> None:
    stage.create_topic(2)
    stage.produce_numbers(1000, 2)
    (port,) = free_ports(1)
    sidecar = stage.sidecar({**stage.config(), "operate": {"listen": f"127.0.0.1:{port}"}})
    stage.process(sidecar, handler_takes=0.0005)
    stage.wait_until_handled()
    stage.wait_until_caught_up()

    def told() -> bool:
        """The SDK tells the handlers' times once a second."""
        return scrape(port)["handler_duration_seconds_count"][""] == 1000

    wait_for(told, "all handlers to be counted")
    shown = scrape(port)
    assert shown["handler_duration_seconds_sum"][""] >= 1000 * 0.0005
    assert shown["handler_duration_seconds_bucket"]["0.0001"] == 0
    assert shown["checkpoint_delay_seconds_count"][""] == 1000
    assert shown["checkpoint_delay_seconds_sum"][""] > 0
    assert shown["commit_duration_seconds_count"][""] >= 1
    assert 0 < shown["commit_duration_seconds_sum"][""] < 60 * shown["commit_duration_seconds_count"][""]
    assert shown["frames_sent_bytes_total"][""] > 1000 * len("999")
    assert shown["frames_received_total"][""] >= 2 * len(("available", "ready", "a checkpoint"))
    assert shown["rebalances_total"]["assigned"] >= 1
    assert shown["partitions"]["running"] == 2
    assert shown["lag"][""] == 0
    assert shown["oldest_outstanding_age_seconds"][""] == 0
    assert shown["partition_committed_offset"].keys() == {"0", "1"}
    assert sum(sum(shown[name].values()) for name in ("restarts_total", "fetch_errors_total")) == 0
    assert shown["process_resident_memory_bytes"][""] > 0
    declared = {metric.full_name.removeprefix("kafka_sidecar_") for metric in EVERY}
    ours = {
        re.sub("_(bucket|sum|count)$", "", name) for name in shown if not name.startswith(("process_", "python_"))
    }
    assert declared - {"process_exits_total"} == ours


def test_a_process_that_dies_is_a_restart_by_its_kind(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(10)
    (port,) = free_ports(1)
    sidecar = stage.sidecar({**stage.config(), "operate": {"listen": f"127.0.0.1:{port}"}})
    first = stage.process(sidecar, every=0)
    stage.wait_until_handled(10)
    wait_for(lambda: scrape(port)["oldest_outstanding_age_seconds"][""] > 0, "records to be outstanding")
    assert scrape(port)["outstanding_records"][""] == 10
    first.kill()
    wait_for(lambda: scrape(port)["restarts_total"]["broke"] == 1, "the restart to be counted")
    shown = scrape(port)
    assert {kind: count for kind, count in shown["restarts_total"].items() if count} == {"broke": 1}
    assert shown["outstanding_records"][""] == 0
    assert sidecar.lambda_status(NAME).restarts == 1
