"""The examples run as their docstrings say, with a real sidecar, and make progress."""

from __future__ import annotations

import sys

from tests.integration import checks
from tests.integration.harness import Sidecar, Stage, wait_for
from tests.servers.topics import Record

SERVE = [sys.executable, "-m", "sdk_python.serve"]


def start(stage: Stage, count: int = 300, partitions: int = 2) -> Sidecar:
    """Produce some lines of words and start a sidecar."""
    stage.create_topic(partitions)
    stage.produce(
        Record(value=b"line %d of words" % number, partition=number % partitions) for number in range(count)
    )
    return stage.sidecar()


def test_one_function(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start(stage)
    process = stage.program("words", [*SERVE, "echo", "examples.one_function", "--address", sidecar.address])
    process.wait_for_log("[(b'line', ")
    stage.wait_until_caught_up()
    assert process.terminate() == 0


def test_async_function(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start(stage)
    process = stage.program("saver", [*SERVE, "echo", "examples.async_function", "--address", sidecar.address])
    stage.wait_until_caught_up()
    assert process.terminate() == 0


def test_four_interfaces(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start(stage)
    folder = stage.folder / "archive"
    command = [*SERVE, "echo", "examples.four_interfaces", "--address", sidecar.address, "--set", f"folder={folder}"]
    process = stage.program("archive", command)
    # It saves 100 at a time, and the rest of each partition when the process ends.
    wait_for(lambda: stage.committed() == {0: 100, 1: 100}, lambda: f"{stage.committed()}")
    assert process.terminate() == 0
    wait_for(lambda: checks.caught_up(stage.committed(), stage.end_offsets()), lambda: f"{stage.committed()}")
    saved = [(folder / f"{stage.topic}-{partition}").read_bytes().splitlines() for partition in range(2)]
    assert saved[0] == [b"line %d of words" % number for number in range(0, 300, 2)]
    assert saved[1] == [b"line %d of words" % number for number in range(1, 300, 2)]


def test_by_hand(embedded_stage: Stage) -> None:
    """Its command line dials the default port; only its function takes another address."""
    stage = embedded_stage
    sidecar = start(stage, partitions=1)
    sidecar.wait_until_listening()
    address = sidecar.address.replace("unix://", "unix:")
    code = f"from examples.by_hand import serve; serve('echo', {address!r})"
    process = stage.program("by hand", [sys.executable, "-u", "-c", code])
    process.wait_for_log("b'line 299 of words'")
    stage.wait_until_caught_up()
    # The sidecar ends its stream, so the example ends too.
    assert sidecar.terminate() == 0
    assert process.ended() == 0
