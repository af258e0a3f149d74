"""docs/operate/: tables, alerts and dashboard are what the code makes of them, and name only what there is."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sidecar.operate.declared import EVERY
from sidecar.operate.metrics import process_collectors
from tools import operate_docs
from tools.operate_docs import FOLDER, ROOT, made, with_tables

NAMES = {metric.full_name: metric for metric in EVERY}
LABELS = {"lambda", "topic", "partition", "instance", "le", *(label for metric in EVERY for label in metric.labels)}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    every = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    return [panel for panel in every if panel["type"] != "row"]


def queries() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("name", ["metrics.md", "alerts.yaml", "grafana.json"])
def test_what_is_made_of_the_code_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == made()[name], "run: make operate-docs"


def test_a_table_without_its_markers_is_an_error() -> None:
    page = (FOLDER / "metrics.md").read_text()
    with pytest.raises(ValueError, match="'lambda' are there 0 times"):
        with_tables(page.replace("<!-- end of lambda -->", ""))


def test_queries_name_series_that_exist() -> None:
    of_process = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for collector in process_collectors()
        for family in collector.collect()
    }
    for query in queries():
        found = set(re.findall(r"\b(?:kafka_sidecar|process|python)_\w+", query))
        assert found, query
        for name in found - of_process:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in NAMES or NAMES[base].kind == "histogram", query


def test_queries_name_labels_and_kinds_that_exist() -> None:
    for query in queries():
        for label, _, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', query):
            assert label in LABELS, query
            if not value.startswith("$"):
                assert value in {value for metric in EVERY for value in metric.labels.get(label, ())}, query
        for by in re.findall(r"(?:by|without|on) \(([^)]*)\)", query):
            assert {*by.split(", ")} <= LABELS, query


def test_rates_are_of_counters_and_nothing_else_is_a_counter() -> None:
    """`rate` of a gauge, or a counter as it is, shows something without meaning."""
    for query in queries():
        for name in re.findall(r"\bkafka_sidecar_\w+", query):
            counts = name.endswith(("_total", "_bucket", "_count", "_sum"))
            rated = re.search(rf"(rate|increase)\({name}\b", query) is not None
            assert counts == rated, query


def test_every_metric_of_a_lambda_is_in_the_dashboard() -> None:
    shown = "\n".join(target["expr"] for panel in panels() for target in panel["targets"])
    for metric in EVERY:
        if not metric.name.startswith("partition_") and metric.name != "connected":
            assert metric.full_name in shown, metric.full_name


def test_each_alert_says_what_to_do_and_has_its_place_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (FOLDER / "alerts.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        page, anchor = rule["annotations"]["runbook"].split("#")
        assert (ROOT / page).is_file()
        assert anchor == rule["alert"].lower()
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert re.fullmatch(r"\d+m", rule["for"])


def test_no_alert_needs_the_metrics_of_partitions() -> None:
    assert not [rule["alert"] for rule in rules() if "kafka_sidecar_partition_" in rule["expr"]]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_tool_writes_what_is_there(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.md").write_text(re.sub(r"\| .*\n", "", (FOLDER / "metrics.md").read_text()))
    before = {name: (FOLDER / name).read_text() for name in ("alerts.yaml", "grafana.json")}
    monkeypatch.setattr(operate_docs, "FOLDER", tmp_path)
    operate_docs.main()
    assert {name: (tmp_path / name).read_text() for name in before} == before
    assert "kafka_sidecar_ready" in (tmp_path / "metrics.md").read_text()
