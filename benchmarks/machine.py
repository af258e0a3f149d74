"""What the figures were measured on, and whether it had other work."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers.kafka import VERSION

_TICKS = os.sysconf("SC_CLK_TCK")


def describe(*versions: str) -> str:
    """Machine and versions in a line; ``versions`` of what else took part."""
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
    """How many cores are in use now, by all, averaged over ``seconds``. To be asked when nothing of ours runs."""
    before = _used(read())
    sleep(seconds)
    return (_used(read()) - before) / seconds


def _used(stat: str) -> float:
    """Seconds that all cores together have been in use: neither idle nor waiting for disks."""
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS
