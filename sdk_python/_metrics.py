"""The metrics of a process that serves a lambda: what it has done, what it has now, and what it costs."""

import gc
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from ._counters import Counters
from ._errors import ProduceFailure
from ._exposition import Metric, Sample
from ._handler_times import HandlerTimes

ACTIONS: Final = ("restart", "critical", "report")
_PROC: Final = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class Present:
    """What a client has at the moment."""

    connected: bool
    """Whether a sidecar has answered, and is not known to have gone away."""
    draining: bool
    partitions: int
    streams: int
    """Streams to the sidecar: one for each partition, and mostly a spare one for the next."""
    waiting: int
    """Records that came and that no handler has taken up."""


def metrics_of(
    name: str, versions: Mapping[str, str], counters: Counters, times: HandlerTimes, present: Present
) -> Iterator[Metric]:
    """Yield all metrics of the process that serves the lambda ``name``; ``versions``: labels of the info metric."""
    own = {"lambda": name}

    def one(short: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Metric:
        return Metric(f"kafka_sidecar_sdk_{short}", kind, text, (Sample(value, own),))

    def by(short: str, label: str, text: str, values: Mapping[str, int], known: tuple[str, ...]) -> Metric:
        samples = tuple(Sample(values.get(word, 0), {**own, label: word}) for word in known)
        return Metric(f"kafka_sidecar_sdk_{short}", "counter", text, samples)

    info = Sample(1, {**own, **versions})
    yield Metric("kafka_sidecar_sdk_info", "gauge", "The versions, as labels; always 1.", (info,))
    yield one("connected", "gauge", "1 while a sidecar answers.", int(present.connected))
    yield one("partitions", "gauge", "Partitions that this process has.", present.partitions)
    yield one("streams", "gauge", "Streams to the sidecar, with the spare one.", present.streams)
    yield one("waiting_records", "gauge", "Records that came and that no handler has taken up.", present.waiting)
    yield one("leases_total", "counter", "Partitions that this process was given.", counters.leases)
    yield one("frames_total", "counter", "Frames of records that came.", counters.frames)
    yield one("records_total", "counter", "Records that came.", counters.records)
    yield one("handled_records_total", "counter", "Records whose handler has returned.", times.handled)
    yield one("handler_seconds_total", "counter", "How long their handlers took, in seconds.", times.seconds)
    yield one("checkpoint_calls_total", "counter", "Calls that carry checkpoints.", counters.checkpoint_calls)
    yield one(
        "checkpoint_failures_total", "counter", "Those that did not come through.", counters.checkpoint_failures
    )
    yield by("errors_total", "action", "Errors and reports of lambdas.", counters.errors, ACTIONS)
    yield one("produced_records_total", "counter", "Records that the sidecar has confirmed.", counters.produced)
    text = "Records that were not written, or are not known to be."
    yield by("produce_failures_total", "kind", text, counters.produce_failures, get_args(ProduceFailure))
    yield from _of_process()


def _of_process() -> Iterator[Metric]:
    """Yield what every Python program has, under the names that Prometheus' own client gives them."""
    python = {"implementation": platform.python_implementation(), "version": platform.python_version()}
    yield Metric("python_info", "gauge", "The version of Python, as labels; always 1.", (Sample(1, python),))
    generations = [(str(number), one) for number, one in enumerate(gc.get_stats())]
    for what, text in (
        ("collections", "Runs of the garbage collector."),
        ("objects_collected", "Objects that it has freed."),
        ("objects_uncollectable", "Objects that it could not free."),
    ):
        key = what.removeprefix("objects_")
        samples = tuple(Sample(one[key], {"generation": number}) for number, one in generations)
        yield Metric(f"python_gc_{what}_total", "counter", text, samples)
    cpu = "CPU time of this process, in seconds."
    yield Metric("process_cpu_seconds_total", "counter", cpu, (Sample(time.process_time(), {}),))
    with suppress(OSError, LookupError, ValueError):  # a system without /proc, or with another one
        pages = int((_PROC / "statm").read_text().split()[1])
        resident = Sample(pages * os.sysconf("SC_PAGE_SIZE"), {})
        yield Metric("process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", (resident,))
        descriptors = Sample(len(os.listdir(_PROC / "fd")), {})  # noqa: PTH208  the number is all
        yield Metric("process_open_fds", "gauge", "Open file descriptors.", (descriptors,))
        started = Sample(_started(), {})
        yield Metric("process_start_time_seconds", "gauge", "Start, in seconds since the Unix epoch.", (started,))


def _started() -> float:
    # The name of the program, in parentheses, may hold blanks. After it, this is the 20th field.
    ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[19])
    machine = Path("/proc/stat").read_text().partition("\nbtime ")[2].split()
    return int(machine[0]) + ticks / os.sysconf("SC_CLK_TCK")
