"""Write the parts of docs/operate/ that are made of the code: python tools/operate_docs.py

- metrics.md: the tables between its markers, of `sidecar/operate/declared.py` and of what prometheus_client adds.
- alerts.yaml: rules for a Prometheus without Kubernetes, of the chart's alerts.yaml.
- grafana.json: the dashboard, of tools/dashboard.py.

A test compares all three with what is made here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from sidecar.operate.declared import LAMBDA, PARTITION, SIDECAR, Metric  # noqa: E402 - found by the line above
from sidecar.operate.metrics import process_collectors  # noqa: E402
from tools.dashboard import dashboard  # noqa: E402

FOLDER = ROOT / "docs/operate"
ALERTS = ROOT / "deploy/helm/kafka-sidecar/alerts.yaml"
RUNBOOK = "docs/operate/alerts.md"

_HEAD = "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n"


def made() -> dict[str, str]:
    """The text of each file, by its name in docs/operate/. Raises ``ValueError`` if metrics.md lacks a marker."""
    return {
        "metrics.md": with_tables((FOLDER / "metrics.md").read_text()),
        "alerts.yaml": rules(),
        "grafana.json": json.dumps(dashboard(), indent=2) + "\n",
    }


def with_tables(page: str) -> str:
    """The page with new tables between its markers. Raises ``ValueError`` if a marker is missing."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}: made by tools/operate_docs.py -->\n", f"<!-- end of {name} -->"
        page, count = re.subn(f"(?s)({re.escape(begin)}).*?(?={re.escape(end)})", lambda m: m[1] + table, page)  # noqa: B023
        if count != 1:
            raise ValueError(f"metrics.md: the markers of {name!r} are there {count} times, not once")
    return page


def tables() -> Mapping[str, str]:
    """The tables of metrics.md by the names of their markers."""
    return {
        "sidecar": _table(SIDECAR, ()),
        "lambda": _table(LAMBDA, ("lambda",)),
        "partition": _table(PARTITION, ("lambda", "topic", "partition")),
        "process": _HEAD + "".join(sorted(_process_rows())),
    }


def _table(metrics: Iterable[Metric[Any]], labels: tuple[str, ...]) -> str:
    rows = []
    for metric in metrics:
        own = [f"`{name}`{_values(values)}" for name, values in metric.labels.items()]
        every = ", ".join([*(f"`{label}`" for label in labels), *own]) or "none"
        rows.append(f"| `{metric.full_name}` | {metric.kind} | {every} | {metric.help} |\n")
    return _HEAD + "".join(rows)


def _values(values: tuple[str, ...]) -> str:
    return f" ({', '.join(values)})" if values else ""


def _process_rows() -> Iterable[str]:
    for collector in process_collectors():
        for family in collector.collect():
            labels = ", ".join(f"`{label}`" for label in family.samples[0].labels) or "none"
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield f"| `{name}` | {family.type} | {labels} | {family.documentation.rstrip('.')}. |\n"


def rules() -> str:
    """The chart's alerts as a rule file of Prometheus."""
    alerts = [
        {
            "alert": alert["name"],
            "expr": alert["metric"].replace("{}", "").replace("{,", "{"),
            "for": alert["for"],
            "labels": {"severity": alert["severity"]},
            "annotations": {
                "summary": alert["summary"],
                "description": alert["remedy"],
                "runbook": f"{RUNBOOK}#{alert['name'].lower()}",
            },
        }
        for alert in yaml.safe_load(ALERTS.read_text())
    ]
    head = (
        f"# Alerts on the sidecar, for `rule_files` of prometheus.yml. {RUNBOOK} says what to do for each.\n"
        "# Made by `make operate-docs` of deploy/helm/kafka-sidecar/alerts.yaml: change that file.\n"
    )
    groups = {"groups": [{"name": "kafka-sidecar", "rules": alerts}]}
    return head + yaml.safe_dump(groups, sort_keys=False, width=1000, allow_unicode=True)


def main() -> None:
    """Write the files."""
    for name, text in made().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
