"""The fleets of docs/scaling.md, and what the simulation says about each. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.scaling.costs import Costs
from benchmarks.scaling.fleet import Event, Fleet, Place, simulate

SESSION_S = 45
"""The default `session.timeout.ms` of librdkafka, in seconds."""
OUTAGE_S = 300
QUIET_S = 60
"""How long a fleet runs before something happens."""
LONGEST_S = 1800

SCENARIOS: Mapping[str, Fleet] = {
    "small": Fleet(partitions=64, rate=2_000, handler_us=200),
    "steady": Fleet(partitions=200, rate=20_000, handler_us=80, sidecars=2, processes=2),
    "many partitions": Fleet(partitions=2_000, rate=20_000, handler_us=80, sidecars=4, processes=1),
    "many sidecars": Fleet(
        partitions=1_000, rate=100_000, size=1000, handler_us=80, sidecars=8, processes=2, producers=20
    ),
    "skewed": Fleet(partitions=200, rate=20_000, skew=0.8, handler_us=80, sidecars=2, processes=2),
    "one hot partition": Fleet(partitions=200, rate=20_000, skew=1.5, handler_us=80, sidecars=4, processes=4),
    "a slow database": Fleet(
        partitions=200, rate=20_000, skew=0.8, handler_us=80, save_ms=50, window=100, sidecars=2, processes=2
    ),
    "documents": Fleet(partitions=1_000, rate=20_000, skew=0.5, documents=300_000, sidecars=4, processes=2),
    "too small": Fleet(partitions=200, rate=20_000, handler_us=220, sidecars=2, processes=2),
}
"""By name; docs/scaling.md says what each is meant to show."""


@dataclass(frozen=True)
class Found:
    """What the simulation says of one fleet.

    Attributes:
        sidecar_cores, lambda_cores: of the busiest sidecar, and of the busiest lambda process with its handlers.
        sidecar_mb, lambda_mb: memory of the largest one of each, without a backlog.
        used: the part of its capacity that the busiest lambda process needs.
        ages_s: the median, the 99th percentile and the highest age of the oldest record that waits, over partitions.
        drain_s: seconds until all is caught up after five minutes without a handled record; None: not in half an
            hour.
        dead_s: the highest age after a sidecar was killed.
        dead_drain_s: seconds from the kill until all is caught up; None: never, the others are too few.
    """

    sidecar_cores: float
    lambda_cores: float
    sidecar_mb: float
    lambda_mb: float
    used: float
    ages_s: tuple[float, float, float]
    drain_s: int | None
    dead_s: float | None
    dead_drain_s: int | None


def find(fleet: Fleet, costs: Costs) -> Found:
    """Run the fleet for a while; then with an outage; and, if there are several sidecars, with one killed."""
    quiet = simulate(fleet, costs, QUIET_S).ages_s
    percentiles = quantiles(quiet, n=100, method="inclusive")
    outage = simulate(fleet, costs, QUIET_S + OUTAGE_S + LONGEST_S, Event(QUIET_S, OUTAGE_S))
    dead_s, dead_drain_s = _one_dead(fleet, costs)
    used = usage(fleet, costs)
    most = -(-fleet.partitions // fleet.sidecars)
    documents_mb = fleet.documents / fleet.sidecars / fleet.processes * costs.document_kb / 1024
    return Found(
        sidecar_cores=max(used.sidecars.values()),
        lambda_cores=max(used.processes.values()),
        sidecar_mb=costs.sidecar.mb + most * costs.sidecar.partition_mb,
        lambda_mb=costs.lambda_.mb + -(-most // fleet.processes) * costs.lambda_.partition_mb + documents_mb,
        used=used.capacity,
        ages_s=(percentiles[49], percentiles[98], max(quiet)),
        drain_s=outage.caught_up(QUIET_S + OUTAGE_S),
        dead_s=dead_s,
        dead_drain_s=dead_drain_s,
    )


@dataclass(frozen=True)
class Usage:
    """The cores that are used: of each sidecar by its number, and of each lambda process by its place.

    ``capacity`` is the part of its capacity that the busiest lambda process needs; above 1 it falls behind.
    """

    sidecars: Mapping[int, float]
    processes: Mapping[Place, float]
    capacity: float


def usage(fleet: Fleet, costs: Costs, places: Sequence[Place] | None = None) -> Usage:
    """What the fleet uses while nothing waits. ``places`` as in `simulate`."""
    by_sidecar: dict[int, list[float]] = {}
    by_process: dict[Place, list[float]] = {}
    for place, rate in zip(places or fleet.places(), fleet.rates(), strict=True):
        by_sidecar.setdefault(place[0], []).append(rate)
        by_process.setdefault(place, []).append(rate)
    handler_us = fleet.handler_us + (costs.document_us if fleet.documents else 0.0)
    return Usage(
        {n: costs.sidecar.busy(rates, fleet.size, fleet.producers) for n, rates in by_sidecar.items()},
        {
            place: min(costs.lambda_.busy(rates, fleet.size, fleet.producers) + sum(rates) * handler_us / 1e6, 1.0)
            for place, rates in by_process.items()
        },
        max(map(sum, by_process.values())) / fleet.process_rate(costs),
    )


def _one_dead(fleet: Fleet, costs: Costs) -> tuple[float | None, int | None]:
    if fleet.sidecars == 1:
        return None, None
    still = SESSION_S + round(max(costs.dead_s - costs.session_s, 0.0))
    dead = simulate(fleet, costs, QUIET_S + still + LONGEST_S, Event(QUIET_S, still, sidecar=0))
    return max(dead.oldest_s[QUIET_S : QUIET_S + still + 1]), dead.caught_up(QUIET_S)
