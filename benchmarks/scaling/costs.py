"""What one costs: the measured points of `costs.json`, and the few figures that are fitted to them. Pure.

The CPU time of a process, sidecar or lambda process, is taken as a sum:

- its idle time, and that of each idle partition;
- for each *wake*, which is one or several records that arrive together;
- for each *frame*, which is one or several records of one partition that arrive together;
- for each record and each of its bytes.

Under load the records wait for each other, so wakes and frames become few. Then only records and bytes count.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from statistics import mean
from typing import Any, Literal

Point = Mapping[str, float]
Points = Sequence[Point]
Who = Literal["sidecar", "lambda"]

COSTS = Path(__file__).with_name("costs.json")
LINGER_S = 0.005
"""How long a producer collects records, in seconds: the default `linger.ms` of librdkafka, and of Kafka's own client
since version 4."""
SMALL, LARGE = 100, 1000
"""The measured sizes of values, in bytes."""


@dataclass(frozen=True)
class Cost:
    """What one process costs.

    Attributes:
        mb: memory without partitions.
        partition_mb: more for each idle partition.
        behind_mb: more for each partition with a backlog, records of 100 bytes.
        cores: CPU time without partitions.
        partition_cores: more for each idle partition.
        wake_us: CPU time for records that arrive together, in microseconds.
        frame_us: more for each partition among them.
        record_us: more for each record.
        byte_us: more for each byte of its value.
    """

    mb: float
    partition_mb: float
    behind_mb: float
    cores: float
    partition_cores: float
    wake_us: float
    frame_us: float
    record_us: float
    byte_us: float

    def full_us(self, size: int) -> float:
        """CPU time in microseconds for a record of this many bytes, when frames are full."""
        return self.record_us + size * self.byte_us

    def busy(self, rates: Sequence[float], size: int, producers: int = 1) -> float:
        """The cores that it uses for partitions with these rates (records a second).

        At most one: a process that is busy all the time makes larger frames, so a full core still has room, up to
        `full_us`.
        """
        wakes, frames = arrivals(rates, producers)
        busy_us = wakes * self.wake_us + frames * self.frame_us + sum(rates) * self.full_us(size)
        return min(self.cores + len(rates) * self.partition_cores + busy_us / 1e6, 1.0)


@dataclass(frozen=True)
class Costs:
    """What all parts cost, and how long a change of owner takes.

    Attributes:
        sidecar: a sidecar.
        lambda_: a lambda process, without its handlers.
        document_kb: memory of the lambda process for each open document, in kilobytes.
        document_us: CPU time of sidecar and lambda process for a record with the document router, less that without.
        open_ms: CPU time of sidecar and lambda process for a partition that gets its lambda, in milliseconds.
        takeover_ms: the same when a process that waits takes it over.
        join_s: until a second sidecar has its share, of 100 partitions.
        session_s: the session timeout at which this was measured, in seconds.
        dead_s: until a killed sidecar's partitions run in another one, at that timeout.
    """

    sidecar: Cost
    lambda_: Cost
    document_kb: float
    document_us: float
    open_ms: float
    takeover_ms: float
    join_s: float
    session_s: float
    dead_s: float


def arrivals(rates: Sequence[float], producers: int = 1) -> tuple[float, float]:
    """Wakes and frames a second of partitions with these rates, each producer writing to all of them.

    Within `LINGER_S` a producer's records arrive together: so many intervals a second have a record at all, and so
    many have one of a certain partition.
    """

    def filled(rate: float) -> float:
        return producers * (1 - exp(-rate / producers * LINGER_S)) / LINGER_S

    return filled(sum(rates)), sum(map(filled, rates))


def load(file: Path = COSTS) -> dict[str, Any]:
    """The measured points, by kind; with the machine, versions and date."""
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def fitted(measured: Mapping[str, Any]) -> Costs:
    """The costs that explain the points best."""
    idle, members = measured["idle"], measured["members"]
    first, *_, last = sorted(measured["documents"], key=lambda point: float(point["documents"]))
    plain = mean(_total_us(point) for point in _of(measured["behind"], size=SMALL, partitions=8))
    documents = last["documents"] - first["documents"]
    return Costs(
        sidecar=_cost("sidecar", measured),
        lambda_=_cost("lambda", measured),
        document_kb=(last["lambda_mb"] - first["lambda_mb"]) * 1024 / documents,
        document_us=first["us"] - plain,
        open_ms=line(idle, "partitions", lambda point: point["start_cpu_s"])[1] * 1000,
        takeover_ms=line(idle, "partitions", lambda point: point["takeover_cpu_s"])[1] * 1000,
        join_s=members[0]["join_s"],
        session_s=members[0]["session_s"],
        dead_s=members[0]["dead_s"],
    )


def explained(measured: Mapping[str, Any]) -> list[float]:
    """The CPU time that the costs say ÷ the measured one, sidecar and lambda process together, of each trickle."""
    costs = fitted(measured)
    found = []
    for point in measured["trickle"]:
        partitions = int(point["partitions"])
        rates = [point["records_per_second"] / partitions] * partitions
        said = costs.sidecar.busy(rates, SMALL) + costs.lambda_.busy(rates, SMALL)
        found.append(said / (point["sidecar_cores"] + point["lambda_cores"]))
    return sorted(found)


def line(points: Points, x: str, y: Callable[[Point], float]) -> tuple[float, float]:
    """Intercept and slope of the line with the least squares; a slope below 0 is noise, and 0 then."""
    xs, ys = [point[x] for point in points], [y(point) for point in points]
    middle_x, middle_y = mean(xs), mean(ys)
    across = sum((one - middle_x) ** 2 for one in xs)
    slope = sum((one - middle_x) * (other - middle_y) for one, other in zip(xs, ys, strict=True)) / across
    slope = max(slope, 0.0)
    return middle_y - slope * middle_x, slope


def two(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The two factors, not below 0, with a * first + b * second = third, and the least squares."""
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = (sum(row[i] * row[2] for row in rows) for i in (0, 1))
    if a * bb < b * ab:
        return 0.0, b / bb
    if b * aa < a * ab:
        return a / aa, 0.0
    determinant = aa * bb - ab * ab
    return (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant


def _cost(who: Who, measured: Mapping[str, Any]) -> Cost:
    idle, behind = measured["idle"], measured["behind"]
    mb, partition_mb = line(idle, "partitions", lambda point: point[f"{who}_mb"])
    cores, partition_cores = line(idle, "partitions", lambda point: point[f"{who}_cores"])
    small = mean(point[f"{who}_us"] for point in _of(behind, size=SMALL))
    large = mean(point[f"{who}_us"] for point in _of(behind, size=LARGE))
    byte_us = max(large - small, 0.0) / (LARGE - SMALL)
    record_us = small - SMALL * byte_us
    wake_us, frame_us = two([*_loads(who, measured["trickle"], cores, partition_cores, small)])
    behind_mb = line(_of(behind, size=SMALL), "partitions", lambda point: point[f"{who}_mb"])[1] - partition_mb
    return Cost(
        mb, partition_mb, max(behind_mb, 0.0), cores, partition_cores, wake_us, frame_us, max(record_us, 0.0), byte_us
    )


def _loads(
    who: Who, points: Points, cores: float, partition_cores: float, record_us: float
) -> Sequence[tuple[float, float, float]]:
    """Of each point: wakes, frames, and the microseconds that they must explain."""
    found = []
    for point in points:
        partitions, rate = int(point["partitions"]), point["records_per_second"]
        wakes, frames = arrivals([rate / partitions] * partitions)
        used = point[f"{who}_cores"] - cores - partitions * partition_cores
        found.append((wakes, frames, used * 1e6 - rate * record_us))
    return found


def _of(points: Points, *, size: int, partitions: int | None = None) -> Points:
    return [p for p in points if p["bytes"] == size and partitions in {None, p["partitions"]}]


def _total_us(point: Point) -> float:
    return point["sidecar_us"] + point["lambda_us"]
