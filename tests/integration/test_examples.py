"""The examples run as their docstrings say, with a real sidecar, and make progress."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.clients import languages
from tests.integration import checks
from tests.integration.conftest import need
from tests.integration.harness import Sidecar, Stage, wait_for
from tests.servers.process import free_ports
from tests.servers.topics import Record

SERVE = [sys.executable, "-m", "sdk_python.serve"]


def start(stage: Stage, count: int = 300, partitions: int = 2, **config: Any) -> Sidecar:
    """Produce some lines of words and start a sidecar; ``config`` replaces parts of its config."""
    stage.create_topic(partitions)
    stage.produce(
        Record(value=b"line %d of words" % number, partition=number % partitions) for number in range(count)
    )
    return stage.sidecar({**stage.config(), **config})


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


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_by_hand(embedded_stage: Stage, language: str) -> None:
    need(languages.missing([language]))
    stage = embedded_stage
    address = f"127.0.0.1:{free_ports(1)[0]}"
    sidecar = start(stage, partitions=1, server={"listen": address})
    sidecar.wait_until_listening()
    process = stage.program("by hand", [*languages.command(language, "by_hand"), "echo", address])
    wait_for(lambda: "line 299 of words" in process.text(), "all lines")
    stage.wait_until_caught_up()
    # The sidecar ends its stream, so the example ends too.
    assert sidecar.terminate() == 0
    assert process.ended() == 0
