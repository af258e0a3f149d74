"""The generated part of docs/scaling.md: fitted costs, measured changes of owner, simulated fleets."""

from collections.abc import Iterator, Mapping
from statistics import median
from textwrap import wrap
from typing import Any

from benchmarks.report import number, table
from benchmarks.scaling.costs import SMALL, Costs, explained, fitted
from benchmarks.scaling.fleet import Fleet
from benchmarks.scaling.scenarios import LONGEST_S, OUTAGE_S, SCENARIOS, Found, find


def generated(measured: Mapping[str, Any]) -> str:
    """All of it, from the measured points."""
    costs = fitted(measured)
    found = {name: find(fleet, costs) for name, fleet in SCENARIOS.items()}
    lines = [
        "### What one costs",
        "",
        *_prose(f"{measured['machine']}. {measured['date']}. The machine had other work: {_loads(measured)}."),
        "",
        *table(["", "a sidecar", "a lambda process"], [*_costs(costs)], left=1),
        "",
        *_prose(_documents(costs)),
        "",
        *_prose(_explained(measured)),
        "",
        "### How long a change takes",
        "",
        *table(_CHANGES, [*_changes(measured)], left=0),
        "",
        *table(_MEMBERS, [*_members(measured)], left=0),
        "",
        "### Fleets",
        "",
        *table(_FLEETS, [_fleet(name, fleet) for name, fleet in SCENARIOS.items()], left=1),
        "",
        *table(_FOUND, [_found(name, one) for name, one in found.items()], left=1),
        "",
        "### The simulation and a real run",
        "",
        *table(["", "simulated", "measured", "measured ÷ simulated"], [*_validated(measured)], left=1),
    ]
    return "\n".join(lines)


_CHANGES = [
    "partitions",
    "s until the first runs, from the start of the first lambda process",
    "s from the first to the last",
    "s until the last runs again, from the kill of a lambda process while another waits",
]
_MEMBERS = [
    "partitions of two sidecars",
    "s until the second has its half, from the start of its lambda process",
    "s until the first has all again, from the kill of the second",
]
_FLEETS = [
    "fleet",
    "partitions",
    "records/s",
    "Zipf's exponent",
    "bytes",
    "handler, µs",
    "save, ms",
    "window",
    "sidecars",
    "processes of each",
    "documents",
    "producers",
]
_FOUND = [
    "fleet",
    "cores of a sidecar",
    "cores of a process",
    "MB of a sidecar",
    "MB of a process",
    "used of its capacity",
    "oldest record, s: p50, p99, max",
    f"caught up after {OUTAGE_S // 60} min of outage, s",
    "oldest after a sidecar's death, s",
    "caught up after it, s",
]


def _prose(text: str) -> list[str]:
    return wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def _loads(measured: Mapping[str, Any]) -> str:
    loads = [point["load"] for kind in ("trickle", "idle", "behind", "members") for point in measured[kind]]
    return f"load averages of {min(loads):.0f} to {max(loads):.0f}"


def _documents(costs: Costs) -> str:
    return (
        f"With [the document router](document_router.md) an open document takes {number(costs.document_kb)} kB of the"
        f" lambda process, and each record {number(costs.document_us)} µs more."
    )


def _explained(measured: Mapping[str, Any]) -> str:
    ratios = explained(measured)
    return (
        f"For {len(ratios)} runs at 200 to 20,000 records a second these costs say {number(median(ratios))} times the"
        f" measured CPU time in the median, {number(ratios[0])} at least and {number(ratios[-1])} at most."
    )


def _costs(costs: Costs) -> Iterator[list[str]]:
    both = costs.sidecar, costs.lambda_
    yield ["memory", *(f"{one.mb:.0f} MB" for one in both)]
    yield ["each partition", *(f"{number(one.partition_mb * 1024)} kB" for one in both)]
    yield [f"each partition with a backlog, {SMALL} bytes", *(f"{number(one.behind_mb * 1024)} kB" for one in both)]
    yield ["CPU time when idle", *(f"{one.cores * 100:.1f} % of a core" for one in both)]
    yield ["each idle partition", *(f"{number(one.partition_cores * 1e6)} µs/s" for one in both)]
    yield ["records that arrive together", *(f"{number(one.wake_us)} µs" for one in both)]
    yield ["each partition among them", *(f"{number(one.frame_us)} µs" for one in both)]
    yield ["each record", *(f"{number(one.record_us)} µs" for one in both)]
    yield ["each kilobyte", *(f"{number(one.byte_us * 1000)} µs" for one in both)]
    yield ["a partition gets its lambda", f"{number(costs.open_ms)} ms, both together", ""]
    yield ["another process takes it over", f"{number(costs.takeover_ms)} ms, both together", ""]


def _changes(measured: Mapping[str, Any]) -> Iterator[list[str]]:
    for point in measured["idle"]:
        first = point["start_s"] - point["first_to_last_s"]
        figures = (first, point["first_to_last_s"], point["takeover_s"])
        yield [f"{point['partitions']:,}", *map(number, figures)]


def _members(measured: Mapping[str, Any]) -> Iterator[list[str]]:
    for point in measured["members"]:
        yield [f"{point['partitions']:,}", number(point["join_s"]), number(point["dead_s"])]


def _fleet(name: str, fleet: Fleet) -> list[str]:
    return [
        name,
        f"{fleet.partitions:,}",
        f"{fleet.rate:,.0f}",
        f"{fleet.skew:g}",
        f"{fleet.size:,}",
        f"{fleet.handler_us:g}",
        f"{fleet.save_ms:g}",
        f"{fleet.window:,}",
        f"{fleet.sidecars}",
        f"{fleet.processes}",
        f"{fleet.documents:,}",
        f"{fleet.producers}",
    ]


def _found(name: str, found: Found) -> list[str]:
    return [
        name,
        number(found.sidecar_cores),
        number(found.lambda_cores),
        f"{found.sidecar_mb:.0f}",
        f"{found.lambda_mb:.0f}",
        f"{found.used:.0%}",
        ", ".join(f"{age:.0f}" for age in found.ages_s),
        _seconds(found.drain_s),
        "" if found.dead_s is None else f"{found.dead_s:.0f}",
        "" if found.dead_s is None else _seconds(found.dead_drain_s),
    ]


def _seconds(value: int | None) -> str:
    return f"not in {LONGEST_S // 60} min" if value is None else str(value)


def _validated(measured: Mapping[str, Any]) -> Iterator[list[str]]:
    for what, pair in measured["validated"].items():
        simulated, real = pair["simulated"], pair["measured"]
        yield [what, number(simulated), number(real), number(real / simulated)]
