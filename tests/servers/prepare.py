"""Fetches and builds the servers of the integration tests, once: ``python -m tests.servers.prepare``.

`make integration` and `make test` call it first, and pytest itself calls it for the tests that it runs: a build that
takes minutes on a slow machine must not look like a test that hangs. Existing servers take no time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sidecar.embedded import EmbeddedBrokerMissing, find_broker
from tests.servers import ferretdb, kafka, wheels

REQUIRED = "KAFKA_SIDECAR_REQUIRE_KAFKA"
"""Environment variable: if it is set and a server is missing, the suite fails instead of skipping tests."""


class Tool(NamedTuple):
    """How to obtain a server for tests."""

    name: str
    does: str
    """The text about what `make` does, and how long it may take."""
    is_there: Callable[[], bool]
    missing: Callable[[], str | None]
    """Returns a line that names what this machine lacks to make or run it, or None."""
    make: Callable[[], object]


def _embedded_missing() -> str | None:
    try:
        find_broker()
    except EmbeddedBrokerMissing as error:
        return str(error)
    return None


KAFKA = Tool(
    f"Kafka {kafka.VERSION}",
    "fetching its jars from Maven Central, 45 MB: some seconds, or as long as the network takes",
    kafka.is_resolved,
    kafka.missing_requirements,
    kafka.resolve,
)
FERRETDB = Tool(
    "FerretDB",
    "building it from the Go module proxy: a minute or two, on a slow machine several",
    lambda: ferretdb.binary().is_file(),
    ferretdb.missing_requirements,
    ferretdb.build,
)
WHEELS = Tool(
    "the images' wheels",
    "fetching what requirements/dev.txt pins, 70 MB: some seconds, or as long as the network takes",
    lambda: wheels.folder().is_dir(),
    lambda: None,
    wheels.fetch,
)
EMBEDDED = Tool("the embedded broker", "", lambda: True, _embedded_missing, lambda: None)
TOOLS = (KAFKA, FERRETDB, WHEELS, EMBEDDED)


def prepare(tools: Iterable[Tool], say: Callable[[str], object]) -> list[str]:
    """Make the missing tools and report progress with ``say``. Returns the texts of the failures."""
    problems = []
    for tool in tools:
        missing = tool.missing()
        if missing is not None:
            problems.append(f"{tool.name}: {missing}")
        elif not tool.is_there():
            say(f"{tool.name}: {tool.does} ...")
            began = time.monotonic()
            try:
                tool.make()
            except (kafka.KafkaServerError, ferretdb.FerretServerError, wheels.WheelsError) as error:
                problems.append(f"{tool.name}: {error}")
            else:
                say(f"{tool.name}: ready after {time.monotonic() - began:.0f} s")
    return problems


def main() -> int:
    """Make all tools. Returns 1 if one failed, or if this machine lacks a requirement and `REQUIRED` is set."""
    problems = prepare(TOOLS, lambda line: print(line, flush=True))
    for problem in problems:
        print(problem, file=sys.stderr)
    lacking = [tool for tool in TOOLS if tool.missing() is not None]
    if len(problems) > len(lacking):
        return 1
    if lacking and os.environ.get(REQUIRED):
        print(f"{REQUIRED} is set: the tests that need this may not be skipped", file=sys.stderr)
        return 1
    if lacking:
        print("The tests that need what is missing are skipped.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
