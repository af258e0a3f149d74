"""Settings of the interpreter and the allocator for a process that handles frames of a few hundred kilobytes."""

import asyncio
import gc
import resource
import sys
from contextlib import suppress

from sdk_python._allocator import keep_freed_memory

GC_THRESHOLD = 100_000

SWITCH_INTERVAL_S = 0.0005
"""A busy thread gives up the interpreter lock after this time. With Python's default of 5 ms a finished frame waits
that long for the loop while the consumer thread encodes the next one."""

TIDY_INTERVAL_S = 10.0
"""Between collections of young cyclic garbage. Calls leave some; with the threshold alone it would grow for half an
hour, to 14 MB, before a collection."""

MAX_FILES = 65_536
"""Limit of open files to ask for, since each connection is one; the system's default is often 1,024."""


def tune() -> None:
    """Call once, when everything is imported and before work begins.

    - Objects that exist now live as long as the process, and batches of records have no cycles: the cyclic collector
      need not visit either of them (`consume()` 15 % cheaper).
    - The process keeps freed memory (`keep_freed_memory`).
    - With enough open files, a client with a thousand idle connections blocks neither others nor our way to Kafka.
    """
    allow_files()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 50, 100)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    keep_freed_memory()


def allow_files() -> None:
    """Raise the limit of open files to ``MAX_FILES``, or as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox forbids it: the old limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def tidy() -> None:
    """Collect the youngest garbage now and then, until cancelled. Older generations are large and rarely change."""
    while True:
        await asyncio.sleep(TIDY_INTERVAL_S)
        gc.collect(1)
