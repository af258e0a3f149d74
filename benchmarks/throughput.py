"""Records per second: the bare loop, and the whole path to a handler in another process."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.processes import ROOT, Sidecar, cpu_seconds, memory_mb, sidecar, wait_for_result

Figures = dict[str, float]


def bare(broker: str, topic: str, total: int) -> Figures:
    """One run of the bare loop."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.bare", broker, topic, str(total), str(total // 4)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        cpu = cpu_seconds(process.pid)
    result = json.loads(line)
    return _figures(result, cpu, time.perf_counter() - began)


def path(broker: str, topic: str, total: int, partitions: int) -> Figures:
    """One run of the sidecar with the Python SDK, committing as in production."""
    return measure(broker, topic, total, partitions, "benchmarks.counting", {})[0]


def measure(
    broker: str,
    topic: str,
    total: int,
    partitions: int,
    module: str,
    settings: Mapping[str, object],
    **more: object,
) -> tuple[Figures, dict[str, Any]]:
    """One run with the lambda ``module``, which writes what `benchmarks.counting` writes: that is the second answer.

    ``more`` are keys of the lambda's config. Raises ``RuntimeError`` when what was handled or committed is not all
    that there is.
    """
    began = time.perf_counter()
    with sidecar(broker, [topic], {}, **more) as host:
        result_file = host.folder / "result.json"
        timed = {"total": total, "warm": total // 4, "result": str(result_file)}
        process = host.serve_with({**timed, **settings}, module)
        result = wait_for_result(result_file, process)
        cpu = cpu_seconds(host.process.pid) + cpu_seconds(process.pid)
        used = time.perf_counter() - began
        memory = {
            "sidecar_mb": memory_mb(host.process.pid, "VmHWM"),
            "lambda_mb": memory_mb(process.pid, "VmHWM"),
        }
        if result["records"] != total:
            raise RuntimeError(f"{result['records']} records handled, {total} produced")
        process.send_signal(signal.SIGTERM)
        if process.wait(30) != 0:
            raise RuntimeError("the lambda process failed")
        _wait_until_committed(host, total, partitions)
    return {**_figures(result, cpu, used), **memory}, result


def _wait_until_committed(host: Sidecar, total: int, partitions: int) -> None:
    """Nothing missed, nothing twice: what was counted is all there was, and all of it is committed."""
    deadline = time.monotonic() + 10
    while True:
        status = host.status()
        committed = sum(partition.committed for partition in status.partitions)
        if committed == total and len(status.partitions) == partitions:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"committed {committed} of {total}")
        time.sleep(0.05)


def _figures(result: dict[str, float], cpu: float, wall: float) -> Figures:
    return {
        "records_per_second": result["measured"] / result["seconds"],
        "cpu_seconds_per_million": cpu / result["records"] * 1e6,
        "wall_seconds": wall,
    }
