"""The Grafana dashboard of docs/operate/grafana.json: its panels and their queries."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

P = "kafka_sidecar_"
BY = 'lambda=~"$lambda",instance=~"$instance"'
"""Every query is restricted to what the variables of the dashboard choose."""

_WIDTH, _HEIGHT = 8, 8
_PER_ROW = 24 // _WIDTH


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its title, its unit as Grafana names it, and its queries with their legends."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""
    """What it shows, beyond its title."""


def _rate(name: str, legend: str, by: str = "lambda") -> tuple[str, str]:
    return f"sum by ({by}) (rate({P}{name}{{{BY}}}[$__rate_interval]))", legend


def _sum(name: str, legend: str, by: str = "lambda", more: str = "") -> tuple[str, str]:
    return f"sum by ({by}) ({P}{name}{{{BY}{more}}})", legend


def _quantile(name: str, share: float) -> tuple[str, str]:
    rate = f"sum by (lambda, le) (rate({P}{name}_bucket{{{BY}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {rate})", f"{{{{lambda}}}} p{share * 100:g}"


def _quantiles(name: str) -> tuple[tuple[str, str], ...]:
    return _quantile(name, 0.5), _quantile(name, 0.99)


INSTANCE = 'instance=~"$instance"'
_OF_THE_SIDECAR = f"and on (instance) {P}build_info{{{INSTANCE}}}"
"""Restricts the metrics of all processes that Prometheus asks to those of sidecars."""

_REFETCHED = (
    f"1 - sum by (lambda) (rate({P}records_sent_total{{{BY}}}[$__rate_interval]))"
    f" / sum by (lambda) (rate({P}records_fetched_total{{{BY}}}[$__rate_interval]))"
)
_DROPPED = f"sum by (instance) (rate({P}log_lines_dropped_total{{{INSTANCE}}}[$__rate_interval]))"

_L, _KIND = "{{lambda}}", "{{lambda}} {{kind}}"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Does it work?",
        (
            Panel(
                *("Ready", "none"),
                ((f"min by (lambda) ({P}ready{{{BY}}})", _L),),
                "1 while nothing keeps the lambda from consuming.",
            ),
            Panel("Partitions by state", "none", (_sum("partitions", "{{lambda}} {{state}}", "lambda, state"),)),
            Panel(
                *("Problems", "none"),
                ((f"max by (lambda, kind) ({P}problem{{{BY}}}) > 0", _KIND),),
                "`kafka-sidecar status` has the texts.",
            ),
            Panel("Processes", "none", (_sum("processes", _L),)),
            Panel(
                *("Partitions that stand still", "none"),
                (_sum("stalled_partitions", "{{lambda}} stalled"), _sum("blocked_partitions", "{{lambda}} blocked")),
                "Blocked: the window is full while records wait. Stalled: no checkpoint for `stall_after`.",
            ),
            Panel("Corrupt documents", "none", (_sum("corrupt_documents", _L),)),
        ),
    ),
    (
        "Does it keep up?",
        (
            Panel("Lag", "none", (_sum("lag", _L),)),
            Panel(
                *("Age of the oldest outstanding record", "s"),
                ((f"max by (lambda) ({P}oldest_outstanding_age_seconds{{{BY}}})", _L),),
            ),
            Panel(
                *("Records", "cps"),
                (
                    _rate("records_sent_total", "{{lambda}} sent"),
                    _rate("produced_records_total", "{{lambda}} produced"),
                ),
            ),
            Panel("Handler time", "s", _quantiles("handler_duration_seconds"), "As the Python SDK reports it."),
            Panel("Checkpoint delay", "s", _quantiles("checkpoint_delay_seconds")),
            Panel("Commit latency", "s", _quantiles("commit_duration_seconds")),
            Panel(
                *("Records in the sidecar", "none"),
                (
                    _sum("outstanding_records", "{{lambda}} outstanding"),
                    _sum("waiting_records", "{{lambda}} waiting"),
                ),
            ),
            Panel(
                *("Bytes in the sidecar", "bytes"),
                (_sum("outstanding_bytes", "{{lambda}} outstanding"), _sum("waiting_bytes", "{{lambda}} waiting")),
            ),
            Panel(
                *("Traffic with lambda processes", "Bps"),
                (
                    _rate("frames_sent_bytes_total", "{{lambda}} to it"),
                    _rate("frames_shared_bytes_total", "{{lambda}} to it, in shared memory"),
                    _rate("frames_received_bytes_total", "{{lambda}} from it"),
                ),
            ),
            Panel(
                *("Frames", "cps"),
                (
                    _rate("frames_sent_total", "{{lambda}} to it"),
                    _rate("frames_received_total", "{{lambda}} from it"),
                ),
            ),
            Panel(
                *("Records fetched again", "percentunit"),
                ((_REFETCHED, _L),),
                "The share of what Kafka sent that was dropped: after a pause or a rewind it is fetched again.",
            ),
        ),
    ),
    (
        "What goes wrong?",
        (
            Panel("Restarts", "cps", (_rate("restarts_total", _KIND, "lambda, kind"),)),
            Panel("Dead letters", "cps", (_rate("dead_letters_total", _L),)),
            Panel("Transactions", "cps", (_rate("transactions_total", _L, "lambda, outcome"),)),
            Panel("Ends of processes", "cps", (_rate("process_exits_total", _L),)),
            Panel("Produce failures", "cps", (_rate("produce_failures_total", _KIND, "lambda, kind"),)),
            Panel("Commit failures", "cps", (_rate("commit_failures_total", _KIND, "lambda, kind"),)),
            Panel("Fetch errors", "cps", (_rate("fetch_errors_total", _KIND, "lambda, kind"),)),
            Panel(
                *("Rebalances and hand-overs", "cps"),
                (
                    _rate("rebalances_total", _KIND, "lambda, kind"),
                    _rate("hand_overs_total", "{{lambda}} handed over"),
                ),
            ),
            Panel(
                *("Reports and skipped records", "cps"),
                (_rate("reports_total", "{{lambda}} reports"), _rate("skipped_records_total", "{{lambda}} skipped")),
            ),
            Panel(
                *("Log lines dropped", "cps"),
                ((_DROPPED, "{{instance}}"),),
            ),
        ),
    ),
    (
        "The sidecar's process",
        (
            Panel(
                *("Processor", "percentunit"),
                ((f"rate(process_cpu_seconds_total[$__rate_interval]) {_OF_THE_SIDECAR}", "{{instance}}"),),
            ),
            Panel(
                *("Memory", "bytes"),
                ((f"process_resident_memory_bytes {_OF_THE_SIDECAR}", "{{instance}}"),),
            ),
            Panel(
                *("What runs", "none"),
                (
                    (f"{P}build_info{{{INSTANCE}}}", "{{instance}} {{version}} extension {{extension}}"),
                    (f"{P}config_info{{{INSTANCE}}}", "{{instance}} config {{hash}}"),
                    (f"{P}draining{{{INSTANCE}}} == 1", "{{instance}} draining"),
                ),
            ),
        ),
    ),
    (
        "Partitions (with operate.partition_metrics)",
        (
            Panel(
                *("Lag of the ten worst", "none"),
                ((f"topk(10, {P}partition_lag{{{BY}}})", "{{lambda}}/{{topic}}/{{partition}}"),),
            ),
            Panel(
                *("Oldest outstanding of the ten worst", "s"),
                (
                    (
                        f"topk(10, {P}partition_oldest_outstanding_age_seconds{{{BY}}})",
                        "{{lambda}}/{{topic}}/{{partition}}",
                    ),
                ),
            ),
            Panel(
                *("Halted, paused, stalled", "none"),
                tuple(
                    (f"{P}partition_{word}{{{BY}}} == 1", f"{{{{lambda}}}}/{{{{topic}}}}/{{{{partition}}}} {word}")
                    for word in ("halted", "paused", "stalled")
                ),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    ids = count(1)
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        place = {"x": 0, "y": y, "w": 24, "h": 1}
        panels.append(
            {"id": next(ids), "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        y += 1
        for index, panel in enumerate(row):
            column, line = index % _PER_ROW, index // _PER_ROW
            place = {"x": column * _WIDTH, "y": y + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            panels.append(_panel(panel, next(ids), place))
        y += -(-len(row) // _PER_ROW) * _HEIGHT
    return {
        "__inputs": [{"name": "DS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}],
        "title": "kafka-sidecar",
        "uid": "kafka-sidecar",
        "tags": ["kafka"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_variable("instance", f"{P}build_info"), _variable("lambda", f"{P}ready")]},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


_SOURCE = {"type": "prometheus", "uid": "${DS}"}


def _variable(label: str, metric: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
