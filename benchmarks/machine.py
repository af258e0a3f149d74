"""The machine on which the figures were measured, and whether it had other work."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers.kafka import VERSION

_TICKS = os.sysconf("SC_CLK_TCK")


def describe(*versions: str) -> str:
    """Machine and versions in one line; ``versions`` are those of further programs."""
    more = "".join(f", {version}" for version in versions)
    return (
        f"{os.cpu_count()} cores that also run the broker, {platform.machine()},"
        f" Python {platform.python_version()}{more}, Kafka {VERSION}"
    )


def busy(
    seconds: float = 3.0,
    read: Callable[[], str] = Path("/proc/stat").read_text,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """How many cores all processes use, averaged over ``seconds``. Call it while no process of the benchmark runs."""
    before = _used(read())
    sleep(seconds)
    return (_used(read()) - before) / seconds


def _used(stat: str) -> float:
    """Seconds for which all cores together were in use: neither idle nor waiting for disks."""
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS
