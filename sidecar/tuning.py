"""Settings of the interpreter and the allocator for a process whose work is frames of a few hundred kilobytes."""

import asyncio
import ctypes
import gc
import resource
import sys
from contextlib import suppress

GC_THRESHOLD = 100_000

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another have the interpreter. With Python's own 5 ms a frame waits
that long for the loop while the consumer thread makes the next."""

TIDY_EVERY = 10.0
"""Seconds between looks for young garbage with cycles. Calls leave some; by the threshold alone it would grow for
half an hour, to 14 MB, before the collector has a look."""

MOST_FILES = 65_536
"""Open files, which connections are, that are allowed if the system lets us; often it is 1,024, until one asks."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEEP_BYTES = 64 * 1024 * 1024
MMAP_BYTES = 32 * 1024 * 1024


def tune() -> None:
    """Call once, when everything is imported and before work begins.

    - Objects that exist now live as long as the process: the cyclic collector need not look at them again, and it
      need not look at batches of records, which have no cycles (`consume()` 15 % cheaper).
    - glibc gives memory above 128 KiB back to the kernel with every free and faults it in again with the next frame:
      kept instead, encoding a frame of 1,000 records takes 0.30 ms instead of 0.49.
    - Whoever opens a thousand connections and says nothing keeps nobody out, nor us from reaching Kafka.
    """
    allow_files()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 50, 100)
    sys.setswitchinterval(SWITCH_INTERVAL)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc: its own settings stand
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
            mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES)


def allow_files() -> None:
    """Raise the limit of open files as far as we may and it makes sense."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox that does not let us: it works as before
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def tidy() -> None:
    """Look for young garbage now and then, until cancelled. What has lived for long is left alone: it is most."""
    while True:
        await asyncio.sleep(TIDY_EVERY)
        gc.collect(1)
