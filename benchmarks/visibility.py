"""Time from a record's production until its copy is visible to a reader with `read_committed`, at a fixed rate.

The copy has the value of its record, which begins with the wall clock; a lambda produces it and checkpoints at once.
"""

import uuid
from typing import Literal

from benchmarks import producing
from benchmarks.latency import Figures, Reader, quantiles
from benchmarks.processes import sidecar
from benchmarks.traffic import offer
from tests.servers.topics import create_topic


def path(
    broker: str, partitions: int, rate: int, seconds: float, guarantee: Literal["at-least-once", "exactly-once"]
) -> Figures:
    """One run of the sidecar; milliseconds."""
    run = uuid.uuid4().hex[:8]
    topic, copy = f"visible-{run}", f"visible-copy-{run}"
    for name in (topic, copy):
        create_topic(broker, name, partitions)
    total = int(rate * seconds)
    settings = {"copy": copy, "looks": False}
    with (
        sidecar(broker, [topic], settings, produce=[copy], guarantee=guarantee) as host,
        Reader(broker, copy, total) as reader,
    ):
        host.serve_with({}, producing.__name__)
        host.wait_until_running(partitions)
        before = host.cpu_seconds()
        offer(broker, topic, range(partitions), rate, seconds)
        delays = reader.delays()
        figures = {
            **quantiles(delays),
            "records": len(delays),
            "cpu_seconds_per_million": (host.cpu_seconds() - before) / total * 1e6,
            **host.memory_mb(),
        }
        host.end_lambdas()
    return figures
